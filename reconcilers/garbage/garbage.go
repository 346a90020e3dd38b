// Package garbage takes away what nobody owns any longer, and what nothing holds
// any longer.
//
// An object all of whose owners are gone goes too. An owner that is deleted in
// the foreground waits for its dependents, one that is deleted with orphan lets
// them go first. An object that is being deleted is finally removed when it has
// no finalizers and, if it is a pod, its node has stopped it. A namespace is not
// removed here: its content has to go first.
//
// Start reading at [New].
package garbage

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Name is the reconciler's name in the owners table.
const Name = "garbage"

// New is the reconciler. It is asked about objects of every kind.
func New() reconcilers.Reconciler {
	return reconcilers.Reconciler{Name: Name, Wakes: wakes, Decide: decide}
}

// wakes names an object that changed if it has owners or is to go; its
// dependents if it is to go or gone, and the pods of a node that is gone; and
// owners that wait for it.
func wakes(w *projections.World, c projections.Change) []events.Key {
	o := c.Object
	if o.Derived() {
		return nil
	}
	var keys []events.Key
	if c.Type != projections.Deleted && (o.Deleting() || len(o.Owners()) > 0) {
		keys = append(keys, o.Key)
	}
	if c.Type == projections.Deleted || o.Deleting() && (c.Prev == nil || !c.Prev.Deleting()) {
		for d := range w.Dependents(o.UID()) {
			keys = append(keys, d.Key)
		}
	}
	if c.Type == projections.Deleted && o.Key.GroupResource() == projections.Nodes {
		for pod := range w.PodsOnNode(o.Key.Name) {
			keys = append(keys, pod.Key)
		}
	}
	return append(keys, waitingFor(w, c)...)
}

// waitingFor lists the owners, before and now, that are being deleted.
func waitingFor(w *projections.World, c projections.Change) []events.Key {
	var keys []events.Key
	for _, o := range []*projections.Object{c.Prev, c.Object} {
		if o == nil {
			continue
		}
		for _, ref := range o.Owners() {
			if owner, ok := w.ByUID(ref.UID); ok && owner.Deleting() && !slices.Contains(keys, owner.Key) {
				keys = append(keys, owner.Key)
			}
		}
	}
	return keys
}

func decide(w *projections.World, key events.Key, now time.Time) (facts []events.Proposal, again time.Time) {
	o, ok := w.Get(key)
	if !ok || o.Derived() {
		return nil, time.Time{}
	}
	if o.Deleting() {
		return end(w, o, now), time.Time{}
	}
	return collect(w, o, now), time.Time{}
}

// end moves an object that is to go towards its end: what its finalizers of ours
// ask for, then its removal.
func end(w *projections.World, o *projections.Object, now time.Time) []events.Proposal {
	finalizers := o.Meta().GetFinalizers()
	switch {
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return orphan(w, o)
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return endDependents(w, o, now)
	case len(finalizers) > 0 || o.Key.GroupResource() == projections.Namespaces || held(w, o):
		return nil
	default:
		// A pod that was stopped is gone because of that, not because of the wish.
		cause := o.Desired.Newer(o.Observed)
		return []events.Proposal{projections.Removed(o, projections.TypeOf(o, events.FactFinalized), cause)}
	}
}

// held reports whether a node still has to stop a pod that is to go. A node that
// does not exist never will.
func held(w *projections.World, o *projections.Object) bool {
	if o.Key.GroupResource() != projections.Pods || o.NodeName() == "" || projections.PodStopped(o) {
		return false
	}
	if _, ok := w.Get(events.Key{Resource: projections.Nodes, Name: o.NodeName()}); !ok {
		return false
	}
	grace := o.Meta().GetDeletionGracePeriodSeconds()
	return grace == nil || *grace > 0
}

// orphan takes the references to an owner off its dependents, then the finalizer
// that asked for it off the owner.
func orphan(w *projections.World, owner *projections.Object) []events.Proposal {
	var facts []events.Proposal
	for d := range w.Dependents(owner.UID()) {
		v, _ := reconcilers.WithoutOwners(d, owner.UID())
		facts = append(facts, projections.Changed(d, projections.TypeOf(d, events.FactOrphaned), owner.Desired, v))
	}
	if len(facts) > 0 {
		return facts
	}
	return []events.Proposal{dependentsGone(owner, metav1.FinalizerOrphanDependents)}
}

// endDependents lets the dependents go that hold their owner up; once none does
// any longer it takes the finalizer that asked for it off the owner.
func endDependents(w *projections.World, owner *projections.Object, now time.Time) []events.Proposal {
	var facts []events.Proposal
	blocked := false
	for d := range w.Dependents(owner.UID()) {
		if !blocks(d, owner) {
			continue
		}
		blocked = true
		if !d.Deleting() {
			facts = append(facts, collect(w, d, now)...)
		}
	}
	if blocked {
		return facts
	}
	return []events.Proposal{dependentsGone(owner, metav1.FinalizerDeleteDependents)}
}

// blocks reports whether an object says that its owner has to wait for it.
func blocks(o, owner *projections.Object) bool {
	return slices.ContainsFunc(o.Owners(), func(ref metav1.OwnerReference) bool {
		return ref.UID == owner.UID() && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
	})
}

func dependentsGone(o *projections.Object, finalizer string) events.Proposal {
	v, m := reconcilers.Copy(o)
	m.SetFinalizers(slices.DeleteFunc(m.GetFinalizers(), func(f string) bool { return f == finalizer }))
	return projections.Changed(o, projections.TypeOf(o, events.FactDependentsGone), o.Desired, v)
}
