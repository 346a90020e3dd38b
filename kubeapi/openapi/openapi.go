// Package openapi describes the types of k8s.io/api for kubectl explain, for
// client-side apply and for server-side apply, without generated code: the
// fields come from reflection, their descriptions from SwaggerDoc, the names
// from OpenAPIModelName, and what server-side apply has to know of lists and
// maps from the schema that client-go carries.
//
// Start reading at [Definitions].
package openapi

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Definitions describes every kind of the given versions, and all that they are
// made of.
func Definitions(s *runtime.Scheme, versions ...schema.GroupVersion) common.GetOpenAPIDefinitions {
	merge := mergeSchema(s, versions)
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		b := &builder{ref: ref, merge: merge, out: map[string]common.OpenAPIDefinition{}}
		for _, gv := range versions {
			for _, t := range s.KnownTypes(gv) {
				b.define(t)
			}
		}
		for _, t := range []reflect.Type{
			reflect.TypeFor[metav1.Status](), reflect.TypeFor[metav1.DeleteOptions](), reflect.TypeFor[metav1.Patch](),
			reflect.TypeFor[metav1.APIResourceList](), reflect.TypeFor[metav1.APIGroup](), reflect.TypeFor[metav1.APIGroupList](),
			reflect.TypeFor[metav1.APIVersions](), reflect.TypeFor[metav1.WatchEvent](), reflect.TypeFor[version.Info](),
		} {
			b.define(t)
		}
		return b.out
	}
}

// mergeSchema is how server-side apply merges the fields of the built-in types.
// It is one schema for all of them, reached through any object.
func mergeSchema(s *runtime.Scheme, versions []schema.GroupVersion) *smd.Schema {
	converter := applyconfigurations.NewTypeConverter(s)
	for _, gv := range versions {
		for _, kind := range slices.Sorted(maps.Keys(s.KnownTypes(gv))) {
			obj, err := s.New(gv.WithKind(kind))
			if err != nil {
				continue
			}
			obj.GetObjectKind().SetGroupVersionKind(gv.WithKind(kind))
			if typed, err := converter.ObjectToTyped(obj); err == nil {
				return typed.Schema()
			}
		}
	}
	return nil
}

// What a type may say of itself.
type (
	named      interface{ OpenAPIModelName() string }
	documented interface{ SwaggerDoc() map[string]string }
	typed      interface{ OpenAPISchemaType() []string }
	formatted  interface{ OpenAPISchemaFormat() string }
)

type builder struct {
	ref   common.ReferenceCallback
	merge *smd.Schema
	out   map[string]common.OpenAPIDefinition
}

func docs(t reflect.Type) map[string]string {
	if d, ok := reflect.TypeAssert[documented](reflect.New(t)); ok {
		return d.SwaggerDoc()
	}
	return nil
}

func nameOf(t reflect.Type) string {
	if n, ok := reflect.TypeAssert[named](reflect.New(t)); ok {
		return n.OpenAPIModelName()
	}
	return ""
}

// define describes a type that has a model name, once, and returns the name.
func (b *builder) define(t reflect.Type) string {
	name := nameOf(t)
	if _, done := b.out[name]; name == "" || done {
		return name
	}
	b.out[name] = common.OpenAPIDefinition{} // types may refer to themselves
	d := docs(t)
	sc := spec.Schema{SchemaProps: spec.SchemaProps{Description: d[""], Type: spec.StringOrArray{"object"}}}
	v := reflect.New(t).Interface()
	if own, ok := v.(typed); ok {
		sc.Type = own.OpenAPISchemaType()
		if f, ok := v.(formatted); ok {
			sc.Format = f.OpenAPISchemaFormat()
		}
		b.out[name] = common.OpenAPIDefinition{Schema: sc}
		return name
	}
	used := map[string]bool{}
	if t.Kind() == reflect.Struct {
		sc.Properties = map[string]spec.Schema{}
		b.fields(t, b.mergeOf(name), &sc, used)
	}
	b.out[name] = common.OpenAPIDefinition{Schema: sc, Dependencies: slices.Sorted(maps.Keys(used))}
	return name
}

func (b *builder) mergeOf(name string) *smd.Map {
	if b.merge == nil {
		return nil
	}
	if atom, ok := b.merge.FindNamedType(name); ok {
		return atom.Map
	}
	return nil
}

// fields adds a struct's fields, those of embedded structs as if they were its own.
func (b *builder) fields(t reflect.Type, merge *smd.Map, sc *spec.Schema, used map[string]bool) {
	d := docs(t)
	for f := range t.Fields() {
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case strings.Contains(options, "inline") || f.Anonymous && name == "":
			b.fields(deref(f.Type), merge, sc, used)
			continue
		case name == "" || name == "-" || !f.IsExported():
			continue
		}
		p := b.schema(f.Type, used)
		if p.Ref.String() != "" { // what stands beside a $ref is ignored
			p = spec.Schema{SchemaProps: spec.SchemaProps{AllOf: []spec.Schema{p}, Default: map[string]any{}}}
		}
		p.Description = d[name]
		patchTags(f, &p)
		mergeTags(merge, name, &p)
		if !strings.Contains(options, "omit") && f.Type.Kind() != reflect.Pointer {
			sc.Required = append(sc.Required, name)
		}
		sc.Properties[name] = p
	}
}

// patchTags says how a strategic merge patch treats the field.
func patchTags(f reflect.StructField, p *spec.Schema) {
	if s := f.Tag.Get("patchStrategy"); s != "" {
		p.AddExtension("x-kubernetes-patch-strategy", s)
	}
	if s := f.Tag.Get("patchMergeKey"); s != "" {
		p.AddExtension("x-kubernetes-patch-merge-key", s)
	}
}

// mergeTags says how server-side apply treats the field.
func mergeTags(merge *smd.Map, name string, p *spec.Schema) {
	if merge == nil {
		return
	}
	f, ok := merge.FindField(name)
	if !ok {
		return
	}
	if l := f.Type.Inlined.List; l != nil {
		switch {
		case l.ElementRelationship != smd.Associative:
			p.AddExtension("x-kubernetes-list-type", "atomic")
		case len(l.Keys) == 0:
			p.AddExtension("x-kubernetes-list-type", "set")
		default:
			keys := make([]any, len(l.Keys))
			for i, k := range l.Keys {
				keys[i] = k
			}
			p.AddExtension("x-kubernetes-list-type", "map")
			p.AddExtension("x-kubernetes-list-map-keys", keys)
		}
	}
	if m := f.Type.Inlined.Map; m != nil && m.ElementRelationship == smd.Atomic {
		p.AddExtension("x-kubernetes-map-type", "atomic")
	}
	if f.Default != nil && p.AllOf == nil {
		p.Default = f.Default
	}
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// schema describes the type of a field.
func (b *builder) schema(t reflect.Type, used map[string]bool) spec.Schema {
	t = deref(t)
	if t.Kind() == reflect.Struct || nameOf(t) != "" {
		if name := b.define(t); name != "" {
			used[name] = true
			return spec.Schema{SchemaProps: spec.SchemaProps{Ref: b.ref(name)}}
		}
		return plain("object", "")
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return plain("string", "byte")
		}
		item := b.schema(t.Elem(), used)
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"array"}, Items: &spec.SchemaOrArray{Schema: &item}}}
	case reflect.Map:
		item := b.schema(t.Elem(), used)
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{"object"}, AdditionalProperties: &spec.SchemaOrBool{Allows: true, Schema: &item}}}
	default:
		return scalar(t.Kind())
	}
}

func scalar(k reflect.Kind) spec.Schema {
	switch k {
	case reflect.String:
		return plain("string", "")
	case reflect.Bool:
		return plain("boolean", "")
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return plain("integer", "int32")
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return plain("integer", "int64")
	case reflect.Float32, reflect.Float64:
		return plain("number", "double")
	default:
		return plain("object", "")
	}
}

func plain(t, format string) spec.Schema {
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{t}, Format: format}}
}
