// Package validation says what is wrong with an object, in the words of
// Kubernetes, before anything of it is recorded.
//
// There is a function per kind for a new object, and one for a change where
// some fields may not change. Unknown fields and wrong JSON types never get
// here: they fail to decode. Objects must have been defaulted first.
//
// Metadata is checked by [Meta] and [MetaUpdate] for every kind; the functions
// of the kinds check the rest.
package validation

import (
	"fmt"
	"slices"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NameFunc says what is wrong with a name, or with the start of a generated one.
type NameFunc = apivalidation.ValidateNameFunc

// Subdomain is the rule for most names: an RFC 1123 subdomain.
func Subdomain(name string, prefix bool) []string {
	return apivalidation.NameIsDNSSubdomain(name, prefix)
}

// Label is the rule for names of namespaces: an RFC 1123 label.
func Label(name string, prefix bool) []string { return apivalidation.NameIsDNSLabel(name, prefix) }

var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
)

const immutableSet = "field is immutable when `immutable` is set"

// Meta checks the metadata of a new object.
func Meta(m metav1.Object, namespaced bool, name NameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(m, namespaced, name, metadataPath)
}

// MetaUpdate checks a change of metadata.
func MetaUpdate(m, old metav1.Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(m, old, metadataPath)
}

func nonNegative(v int64, p *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(v, p)
}

// each makes an error of every message.
func each(messages []string, p *field.Path, value any) (errs field.ErrorList) {
	for _, m := range messages {
		errs = append(errs, field.Invalid(p, value, m))
	}
	return errs
}

// named checks a required value against a rule.
func named(value string, p *field.Path, rule func(string) []string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return each(rule(value), p, value)
}

// optional checks a value against a rule if there is one.
func optional(value string, p *field.Path, rule func(string) []string) field.ErrorList {
	if value == "" {
		return nil
	}
	return each(rule(value), p, value)
}

// oneOf checks a required value against the ones that are supported.
func oneOf[T ~string](value T, p *field.Path, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	if slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(p, value, supported)}
}

// unique remembers values and finds those that come twice.
type unique struct{ seen sets.Set[string] }

func (u *unique) check(value string, p *field.Path) field.ErrorList {
	if value == "" {
		return nil
	}
	if u.seen.Has(value) {
		return field.ErrorList{field.Duplicate(p, value)}
	}
	if u.seen == nil {
		u.seen = sets.New[string]()
	}
	u.seen.Insert(value)
	return nil
}

func subdomain(v string) []string { return validation.IsDNS1123Subdomain(v) }

func label(v string) []string { return validation.IsDNS1123Label(v) }

// noParent refuses a path with a .. in it.
func noParent(path string, p *field.Path) field.ErrorList {
	if slices.Contains(strings.Split(path, "/"), "..") {
		return field.ErrorList{field.Invalid(p, path, "must not contain '..'")}
	}
	return nil
}

// relative wants a path without leading slash and without ..
func relative(path string, p *field.Path) (errs field.ErrorList) {
	if strings.HasPrefix(path, "/") {
		errs = append(errs, field.Invalid(p, path, "must be a relative path"))
	}
	return append(errs, noParent(path, p)...)
}

func mode(m *int32, p *field.Path) field.ErrorList {
	if m != nil && (*m < 0 || *m > 0o777) {
		return field.ErrorList{field.Invalid(p, *m, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func between(v, low, high int64, p *field.Path) field.ErrorList {
	if v < low || v > high {
		return field.ErrorList{field.Invalid(p, v, fmt.Sprintf("must be between %d and %d, inclusive", low, high))}
	}
	return nil
}
