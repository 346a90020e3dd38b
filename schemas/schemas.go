// Package schemas holds a JSON Schema (2020-12) for the payload of every event
// type, and checks events against them.
//
// A schema is generated from the Go type of the payload, by go test ./schemas
// -update, and is frozen once its type is released; see README.md. Schemas
// describe what is there: they let fields pass that they do not know, because a
// later release may add some.
package schemas

import (
	"bytes"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"periplus.dev/events"
)

// base starts the $id of every schema, and so the dataschema attribute of every
// event. Nothing is fetched from it.
const base = "https://periplus.dev/schemas/"

//go:embed *.json
var files embed.FS

// Name is the name of the schema of a type: the type itself if it has an intent
// of its own, otherwise the type with "_" for the kind, because a fact that any
// kind can have has one schema. The file is called like this, with ".json".
func Name(t events.Type) string {
	if _, found := slices.BinarySearch(events.Types(), t); found {
		return string(t)
	}
	return string(events.TypeOf("_", t.Fact()))
}

// ID is the URI that names the schema of a type.
func ID(t events.Type) string { return base + Name(t) + ".json" }

// Schema is the text of the schema of a type; ok is false for an unknown type.
func Schema(t events.Type) (text []byte, ok bool) {
	if _, known := events.Lookup(t); !known {
		return nil, false
	}
	text, err := files.ReadFile(Name(t) + ".json")
	return text, err == nil
}

// Validate says whether an event's payload is what its type promises. It wraps
// [events.ErrInvalid].
func Validate(e events.Event) error {
	if _, known := events.Lookup(e.Type); !known {
		return fmt.Errorf("validate %q: %w: unknown type", e.Type, events.ErrInvalid)
	}
	all, err := compiled()
	if err != nil {
		return err
	}
	schema, found := all[Name(e.Type)]
	if !found {
		return fmt.Errorf("validate %s: no schema", e.Type)
	}
	payload, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.Data))
	if err == nil {
		err = schema.Validate(payload)
	}
	if err != nil {
		return fmt.Errorf("validate %s: %w: %w", e.Type, events.ErrInvalid, err)
	}
	return nil
}

// compiled are the schemas by name, made when first asked for.
var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list schemas: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	all := map[string]*jsonschema.Schema{}
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("read schema: %w", err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err == nil {
			err = c.AddResource(base+e.Name(), doc)
		}
		if err != nil {
			return nil, fmt.Errorf("read schema %s: %w", e.Name(), err)
		}
		schema, err := c.Compile(base + e.Name())
		if err != nil {
			return nil, fmt.Errorf("compile schema %s: %w", e.Name(), err)
		}
		all[strings.TrimSuffix(e.Name(), ".json")] = schema
	}
	return all, nil
})
