package schemas_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/events/cloudevents"
	"periplus.dev/schemas"
)

var update = flag.Bool("update", false, "write the schemas of types that have none or another one")

// payloads are the Go types of thin payloads. Everything else is fat.
var payloads = map[events.Type]any{
	events.PodScheduled:          events.Scheduled{},
	events.PodUnschedulable:      events.Unschedulable{},
	events.PodMatured:            events.Matured{},
	events.PodSandboxCreated:     events.SandboxCreated{},
	events.PodRejected:           events.Rejected{},
	events.PodStopping:           events.Stopping{},
	events.PodStopped:            events.Stopped{},
	events.ImagePullStarted:      events.PullStarted{},
	events.ImagePulled:           events.Pulled{},
	events.ImagePullFailed:       events.PullFailed{},
	events.ContainerStarted:      events.Started{},
	events.ContainerStartFailed:  events.StartFailed{},
	events.ContainerExited:       events.Exited{},
	events.ContainerBackingOff:   events.BackingOff{},
	events.ContainerReadyChanged: events.ReadyChanged{},
	events.NodeRegistered:        events.Registered{},
	events.NodeReady:             events.Readiness{},

	events.TypeOf("_", events.FactStatusReported): events.StatusReported{},
}

// all lists every schema's type; a fact that any kind can have stands under "_".
func all() []events.Type {
	types := events.Types()
	for _, fact := range events.Facts() {
		types = append(types, events.TypeOf("_", fact))
	}
	return types
}

// payload is a value of the Go type of a type's payload.
func payload(t *testing.T, typ events.Type) any {
	t.Helper()
	v, thin := payloads[typ]
	spec, known := events.Lookup(typ)
	if !known || spec.Fat == thin {
		t.Fatalf("%s: known %v, fat %v, with a payload type of its own %v", typ, known, spec.Fat, thin)
	}
	if thin {
		return v
	}
	return events.State{}
}

func TestSchemasAreGenerated(t *testing.T) {
	docs := readDocs(t)
	want := map[string]bool{}
	for _, typ := range all() {
		spec, _ := events.Lookup(typ)
		name := schemas.Name(typ) + ".json"
		want[name] = true
		text := generate(t, docs, typ, spec, reflect.TypeOf(payload(t, typ)))
		old, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if bytes.Equal(old, text) {
			continue
		}
		if !*update {
			t.Errorf("%s is not what the payload's Go type says; run go test ./schemas -update and read what changes", name)
			continue
		}
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range found {
		if !want[name] {
			t.Errorf("%s is of no type", name)
		}
	}
}

func TestNamesAreThoseOfTheLog(t *testing.T) {
	for _, typ := range append(all(), events.TypeOf("configmap", events.FactCreated)) {
		if got, want := schemas.ID(typ), cloudevents.DataSchema(typ); got != want {
			t.Errorf("%s has the schema %s, and its events name %s", typ, got, want)
		}
	}
}

// node is one schema; its fields are written in this order.
type node struct {
	Schema      string   `json:"$schema,omitempty"`
	ID          string   `json:"$id,omitempty"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Type        any      `json:"type,omitempty"`
	Format      string   `json:"format,omitempty"`
	Minimum     *int     `json:"minimum,omitempty"`
	Required    []string `json:"required,omitempty"`
	Properties  *named   `json:"properties,omitempty"`
	Items       *node    `json:"items,omitempty"`
	Additional  any      `json:"additionalProperties,omitempty"`
}

// named are properties in the order of the struct's fields.
type named struct {
	names []string
	nodes []*node
}

func (n *named) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, name := range n.names {
		text, err := json.Marshal(n.nodes[i])
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func generate(t *testing.T, docs map[string]string, typ events.Type, spec events.Spec, of reflect.Type) []byte {
	t.Helper()
	n := object(docs, of)
	n.Schema, n.ID, n.Title = "https://json-schema.org/draft/2020-12/schema", schemas.ID(typ), string(typ)
	n.Description = docs[string(typ)]
	if spec.Fat && !spec.Terminal {
		n.Required = append([]string{"object"}, n.Required...)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(n); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func object(docs map[string]string, of reflect.Type) *node {
	n := &node{Type: "object", Properties: &named{}, Additional: true}
	for _, f := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		optional := strings.Contains(options, "omit")
		if !optional {
			n.Required = append(n.Required, name)
		}
		p := value(docs, f.Type, !optional)
		p.Description = docs[of.Name()+"."+f.Name]
		n.Properties.names = append(n.Properties.names, name)
		n.Properties.nodes = append(n.Properties.nodes, p)
	}
	return n
}

// value describes a Go type as encoding/json writes it. A list or a map that is
// always written may be null.
func value(docs map[string]string, of reflect.Type, always bool) *node {
	orNull := func(name string) any {
		if always {
			return []string{name, "null"}
		}
		return name
	}
	zero := 0
	switch {
	case of == reflect.TypeFor[time.Time]():
		return &node{Type: "string", Format: "date-time"}
	case of == reflect.TypeFor[json.RawMessage]():
		return &node{Type: "object"}
	}
	switch of.Kind() {
	case reflect.Struct:
		return object(docs, of)
	case reflect.Slice:
		return &node{Type: orNull("array"), Items: value(docs, of.Elem(), false)}
	case reflect.Map:
		return &node{Type: orNull("object"), Additional: value(docs, of.Elem(), false)}
	case reflect.String:
		return &node{Type: "string"}
	case reflect.Bool:
		return &node{Type: "boolean"}
	case reflect.Int, reflect.Int32, reflect.Int64:
		return &node{Type: "integer"}
	case reflect.Uint64:
		return &node{Type: "integer", Minimum: &zero}
	case reflect.Interface:
		return &node{}
	default:
		panic(fmt.Sprintf("no schema for the Go type %s", of))
	}
}

// readDocs reads the comments of package events: of fields under Struct.Field, of
// constants under their value.
func readDocs(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	paths, err := filepath.Glob("../events/*.go")
	if err != nil || len(paths) == 0 {
		t.Fatalf("read package events: %v, %v", paths, err)
	}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				fieldDocs(docs, n)
			case *ast.ValueSpec:
				constDoc(docs, n)
			}
			return true
		})
	}
	return docs
}

func fieldDocs(docs map[string]string, spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		for _, name := range f.Names {
			docs[spec.Name.Name+"."+name.Name] = comment(f.Doc, f.Comment)
		}
	}
}

func constDoc(docs map[string]string, spec *ast.ValueSpec) {
	if len(spec.Values) != 1 {
		return
	}
	lit, ok := spec.Values[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return
	}
	text := strings.Trim(lit.Value, `"`)
	if strings.HasPrefix(spec.Names[0].Name, "Fact") {
		text = string(events.TypeOf("_", text))
	}
	docs[text] = comment(spec.Doc, spec.Comment)
}

func comment(groups ...*ast.CommentGroup) string {
	for _, g := range slices.DeleteFunc(groups, func(g *ast.CommentGroup) bool { return g == nil }) {
		return strings.Join(strings.Fields(g.Text()), " ")
	}
	return ""
}
