package garbage

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// owners are an object's references by what became of those they name.
type owners struct {
	solid   int         // stay, or are of a kind nobody here knows
	gone    []types.UID // are no more
	waiting []types.UID // are being deleted and wait for their dependents
	cause   events.Ref  // the newest event that made one of them gone or waiting
}

func ownersOf(w *projections.World, o *projections.Object) owners {
	var s owners
	for _, ref := range o.Owners() {
		owner, ok := w.ByUID(ref.UID)
		// A reference cannot reach into another namespace.
		if ok && owner.Key.Namespace != "" && owner.Key.Namespace != o.Key.Namespace {
			ok = false
		}
		switch {
		case !ok && !known(ref):
			s.solid++
		case !ok:
			s.gone = append(s.gone, ref.UID)
			if departed, ok := w.Departed(ref.UID); ok {
				s.cause = s.cause.Newer(departed)
			}
		case owner.Deleting() && slices.Contains(owner.Meta().GetFinalizers(), metav1.FinalizerDeleteDependents):
			s.waiting = append(s.waiting, ref.UID)
			s.cause = s.cause.Newer(owner.Desired)
		default:
			s.solid++
		}
	}
	if s.cause.Seq == 0 {
		s.cause = o.Last() // the owner was gone before, or has been forgotten
	}
	return s
}

// known reports whether a reference names a kind whose objects are all in the
// World, so that one that is not there does not exist.
func known(ref metav1.OwnerReference) bool {
	group, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return false
	}
	for _, key := range []events.Key{
		{Resource: projections.Pods}, {Resource: projections.Nodes}, {Resource: projections.Namespaces},
		{Resource: projections.ConfigMaps}, {Resource: projections.Secrets}, {Resource: projections.ServiceAccounts},
		{Group: "apps", Resource: "replicasets"}, {Group: "apps", Resource: "deployments"},
		{Group: "coordination.k8s.io", Resource: "leases"},
	} {
		if key.Group == group.Group && projections.KindOf(key) == ref.Kind {
			return true
		}
	}
	return false
}

// collect lets an object go that had owners and has none left. If some are left,
// the references to the others are taken off.
func collect(w *projections.World, o *projections.Object, now time.Time) []events.Proposal {
	s := ownersOf(w, o)
	lost := slices.Concat(s.gone, s.waiting)
	fact := func(name string) events.Type { return projections.TypeOf(o, name) }
	switch {
	case len(lost) == 0:
		return nil
	case s.solid > 0:
		v, _ := reconcilers.WithoutOwners(o, lost...)
		return []events.Proposal{projections.Changed(o, fact(events.FactOrphaned), s.cause, v)}
	case len(s.waiting) > 0 && hasDependents(w, o):
		v := reconcilers.Doomed(o, now, metav1.FinalizerDeleteDependents)
		return []events.Proposal{projections.Changed(o, fact(events.FactCollectRequested), s.cause, v)}
	case reconcilers.GoesAtOnce(o) && o.Key.GroupResource() != projections.Namespaces:
		return []events.Proposal{projections.Removed(o, fact(events.FactCollected), s.cause)}
	default:
		return []events.Proposal{projections.Changed(o, fact(events.FactCollectRequested), s.cause, reconcilers.Doomed(o, now))}
	}
}

func hasDependents(w *projections.World, o *projections.Object) bool {
	for range w.Dependents(o.UID()) {
		return true
	}
	return false
}
