package schemas_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/schemas"
)

// example fills a payload: every field, or only those that are always written.
func example(t *testing.T, typ events.Type, whole bool) map[string]any {
	t.Helper()
	v := reflect.New(reflect.TypeOf(payload(t, typ))).Elem()
	if whole {
		fill(v)
	}
	if s, fat := reflect.TypeAssert[*events.State](v.Addr()); fat {
		if spec, _ := events.Lookup(typ); !spec.Terminal {
			s.Object = json.RawMessage(`{"kind":"Pod"}`)
		} else {
			s.Object = nil
		}
	}
	text, err := json.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func fill(v reflect.Value) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)))
		return
	case v.Type() == reflect.TypeFor[json.RawMessage]():
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("cpu"), reflect.ValueOf("2"))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"phase": "Running"}))
	default:
		v.SetInt(7)
	}
}

func validate(t *testing.T, typ events.Type, m any) error {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Validate(events.Event{Type: typ, Data: text})
}

func TestExamples(t *testing.T) {
	for _, typ := range all() {
		for _, whole := range []bool{true, false} {
			if err := validate(t, typ, example(t, typ, whole)); err != nil {
				t.Errorf("example, whole %v: %v", whole, err)
			}
		}
		newer := example(t, typ, true)
		newer["fieldOfALaterRelease"] = 1
		if err := validate(t, typ, newer); err != nil {
			t.Errorf("with one more field: %v", err)
		}
	}
	if err := validate(t, events.TypeOf("configmap", events.FactCreated), example(t, events.TypeOf("_", events.FactCreated), true)); err != nil {
		t.Errorf("a fact that any kind can have, of a kind: %v", err)
	}
}

// TestWrongPayloads: what a schema demands is demanded: no field that is always
// written may be missing, and none may be of another type.
func TestWrongPayloads(t *testing.T) {
	refused := func(typ events.Type, m any, what string) {
		t.Helper()
		if err := validate(t, typ, m); !errors.Is(err, events.ErrInvalid) {
			t.Errorf("%s, %s: %v, want %v", typ, what, err, events.ErrInvalid)
		}
	}
	for _, typ := range all() {
		for name := range example(t, typ, false) {
			m := example(t, typ, true)
			delete(m, name)
			refused(typ, m, "without "+name)
		}
		for name, v := range example(t, typ, true) {
			if name == "status" {
				continue // may be anything
			}
			m := example(t, typ, true)
			m[name] = 1.5
			if reflect.TypeOf(v) == reflect.TypeFor[float64]() {
				m[name] = "text"
			}
			refused(typ, m, "with another "+name)
		}
		refused(typ, []string{}, "a list")
		refused(typ, nil, "null")
	}
	refused("dev.periplus.pod.updated.v1", map[string]any{}, "unknown type")
	exited := example(t, events.ContainerExited, true)
	exited["finishedAt"] = "yesterday"
	refused(events.ContainerExited, exited, "a time that is none")
	scheduled := example(t, events.PodScheduled, true)
	scheduled["candidates"] = []any{map[string]any{"fits": true}}
	refused(events.PodScheduled, scheduled, "a candidate without a node")
	if err := schemas.Validate(events.Event{Type: events.PodStopped, Data: []byte("{")}); !errors.Is(err, events.ErrInvalid) {
		t.Errorf("cut payload: %v", err)
	}
}

func TestSchema(t *testing.T) {
	for _, typ := range all() {
		if text, ok := schemas.Schema(typ); !ok || !json.Valid(text) {
			t.Errorf("%s: %v, %d bytes", typ, ok, len(text))
		}
	}
	if _, ok := schemas.Schema("dev.periplus.pod.updated.v1"); ok {
		t.Error("an unknown type has a schema")
	}
}
