package reconcilers

import (
	"iter"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Claim is what a controller has to do about the ownership of the objects its
// selector speaks of.
type Claim struct {
	Adopt   []*projections.Object // match, have no controller and are not on their way out
	Release []*projections.Object // are controlled, but match no longer
}

// ClaimOf compares the objects of a table in the owner's namespace with the
// owner's selector. A selector that is missing, empty or wrong claims nothing.
func ClaimOf(w *projections.World, owner *projections.Object, table string, selector *metav1.LabelSelector) Claim {
	var c Claim
	matches, ok := Selector(selector)
	if !ok {
		return c
	}
	for o := range w.Free(table, owner.Key.Namespace) {
		if !o.Deleting() && matches.Matches(labels.Set(o.Labels())) {
			c.Adopt = append(c.Adopt, o)
		}
	}
	for o := range w.Dependents(owner.UID()) {
		ref := o.Controller()
		mine := ref != nil && ref.UID == owner.UID() && o.Key.GroupResource() == table && o.Key.Namespace == owner.Key.Namespace
		if mine && !o.Deleting() && !matches.Matches(labels.Set(o.Labels())) {
			c.Release = append(c.Release, o)
		}
	}
	return c
}

// Selector reads a label selector; ok is false if it is missing, empty or wrong,
// so that no mistake makes a controller take everything.
func Selector(s *metav1.LabelSelector) (selector labels.Selector, ok bool) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if s == nil || err != nil || selector.Empty() {
		return labels.Nothing(), false
	}
	return selector, true
}

// SelectsOwn reports whether a selector can be used and matches the labels that
// the owner gives to what it makes. If it does not, what is made would be let go
// again without end.
func SelectsOwn(s *metav1.LabelSelector, given map[string]string) bool {
	selector, ok := Selector(s)
	return ok && selector.Matches(labels.Set(given))
}

// ControlledBy is the reference that makes owner an object's controller.
func ControlledBy(owner metav1.Object, kind schema.GroupVersionKind) metav1.OwnerReference {
	return *metav1.NewControllerRef(owner, kind)
}

// WithOwner returns an object's value with one more owner reference.
func WithOwner(o *projections.Object, ref metav1.OwnerReference) (runtime.Object, metav1.Object) {
	v, m := Copy(o)
	m.SetOwnerReferences(append(m.GetOwnerReferences(), ref))
	return v, m
}

// WithoutOwners returns an object's value without its references to the owners.
func WithoutOwners(o *projections.Object, owners ...types.UID) (runtime.Object, metav1.Object) {
	v, m := Copy(o)
	m.SetOwnerReferences(slices.DeleteFunc(m.GetOwnerReferences(), func(ref metav1.OwnerReference) bool {
		return slices.Contains(owners, ref.UID)
	}))
	return v, m
}

// Copy returns an object's value, and the metadata of it, free to be changed.
func Copy(o *projections.Object) (runtime.Object, metav1.Object) {
	v := o.Value().DeepCopyObject()
	m, ok := v.(metav1.Object)
	if !ok {
		panic("no metadata in " + o.Key.String()) // every kind of k8s.io/api has it, and so has unstructured
	}
	return v, m
}

// Controllers yields the keys of the objects of a table that control what
// changed or did before; and if nobody does now, of those in its namespace that
// could claim it by its labels.
func Controllers(w *projections.World, c projections.Change, table string, selectorOf func(*projections.Object) *metav1.LabelSelector) iter.Seq[events.Key] {
	return func(yield func(events.Key) bool) {
		for _, o := range []*projections.Object{c.Prev, c.Object} {
			if o == nil || o.Controller() == nil {
				continue
			}
			owner, ok := w.ByUID(o.Controller().UID)
			if ok && owner.Key.GroupResource() == table && !yield(owner.Key) {
				return
			}
		}
		if c.Type == projections.Deleted || c.Object.Controller() != nil || c.Object.Deleting() {
			return
		}
		for owner := range w.List(table, c.Object.Key.Namespace) {
			s, ok := Selector(selectorOf(owner))
			if ok && s.Matches(labels.Set(c.Object.Labels())) && !yield(owner.Key) {
				return
			}
		}
	}
}
