// Package namespaces keeps the namespaces that every cluster has and the
// ServiceAccount "default" in each, and ends a namespace that is to go: first
// all that is in it, then itself.
//
// Start reading at [New].
package namespaces

import (
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Name is the reconciler's name in the owners table.
const Name = "namespaces"

// always are the namespaces that every cluster has.
func always() []string {
	return []string{metav1.NamespaceDefault, "kube-node-lease", metav1.NamespacePublic, metav1.NamespaceSystem}
}

// New is the reconciler. It is asked about Namespaces.
func New() reconcilers.Reconciler {
	return reconcilers.Reconciler{Name: Name, Wakes: wakes, Decide: decide}
}

// wakes names a namespace that changed, and that of an object that came or went
// in one that is to go or gone, or of a ServiceAccount that went. The first event
// of the log wakes those that always exist.
func wakes(w *projections.World, c projections.Change) []events.Key {
	o := c.Object
	switch table := o.Key.GroupResource(); {
	case table == projections.Clusters:
		var keys []events.Key
		for _, name := range always() {
			keys = append(keys, keyOf(name))
		}
		return keys
	case table == projections.Namespaces:
		return []events.Key{o.Key}
	case o.Key.Namespace == "" || o.Derived():
		return nil
	}
	key := keyOf(o.Key.Namespace)
	ns, ok := w.Get(key)
	left := c.Type == projections.Deleted && o.Key == accountIn(o.Key.Namespace)
	if left || !ok || ns.Deleting() {
		return []events.Key{key}
	}
	return nil
}

func keyOf(name string) events.Key { return events.Key{Resource: projections.Namespaces, Name: name} }

func accountIn(namespace string) events.Key {
	return events.Key{Resource: projections.ServiceAccounts, Namespace: namespace, Name: "default"}
}

func decide(w *projections.World, key events.Key, now time.Time) (facts []events.Proposal, again time.Time) {
	if key.GroupResource() != projections.Namespaces {
		return nil, time.Time{}
	}
	o, ok := w.Get(key)
	switch {
	case ok && o.Deleting():
		return end(w, o, now), time.Time{}
	case ok:
		return provisionAccount(w, o, now), time.Time{}
	case slices.Contains(always(), key.Name):
		return provision(w, key, now), time.Time{}
	default:
		return sweep(w, key.Name, events.Ref{}, now), time.Time{}
	}
}

// provision makes a namespace that always exists.
func provision(w *projections.World, key events.Key, now time.Time) []events.Proposal {
	if w.Genesis().Seq == 0 {
		return nil // there is no cluster yet
	}
	ns := &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{
			Name: key.Name, UID: uid(w, w.Genesis().ID, key), CreationTimestamp: reconcilers.Timestamp(now),
			Labels: map[string]string{corev1.LabelMetadataName: key.Name},
		},
		Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
	}
	return []events.Proposal{projections.Created(key, events.TypeOf("namespace", events.FactProvisioned), w.Genesis(), ns)}
}

// provisionAccount makes the ServiceAccount that pods of a namespace run as
// unless they say otherwise.
func provisionAccount(w *projections.World, ns *projections.Object, now time.Time) []events.Proposal {
	key := accountIn(ns.Key.Name)
	if _, ok := w.Get(key); ok {
		return nil
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: key.Name, Namespace: key.Namespace, UID: uid(w, string(ns.UID()), key), CreationTimestamp: reconcilers.Timestamp(now),
	}}
	return []events.Proposal{projections.Created(key, events.TypeOf("serviceaccount", events.FactProvisioned), ns.Desired, account)}
}

// end sweeps a namespace that is to go, and ends it once nothing is left in it
// and nobody else holds it.
func end(w *projections.World, ns *projections.Object, now time.Time) []events.Proposal {
	if facts := sweep(w, ns.Key.Name, ns.Desired, now); len(facts) > 0 {
		return facts
	}
	for range w.Namespaced(ns.Key.Name) {
		return nil // it is on its way out
	}
	if v := projections.As[*corev1.Namespace](ns); len(v.Finalizers) > 0 || heldByOthers(v) {
		return nil
	}
	return []events.Proposal{projections.Removed(ns, events.NamespaceEmptied, ns.Desired)}
}

func heldByOthers(ns *corev1.Namespace) bool {
	return slices.ContainsFunc(ns.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f != corev1.FinalizerKubernetes })
}

// sweep takes away everything in a namespace. What a finalizer or a node holds is
// only told to go. Without a cause, because the namespace is gone already and
// something was made in it by somebody who did not know, that making is it.
func sweep(w *projections.World, namespace string, cause events.Ref, now time.Time) []events.Proposal {
	var facts []events.Proposal
	for o := range w.Namespaced(namespace) {
		why := cause
		if why.Seq == 0 {
			why = o.Last()
		}
		switch {
		case o.Deleting():
		case reconcilers.GoesAtOnce(o):
			facts = append(facts, projections.Removed(o, projections.TypeOf(o, events.FactSwept), why))
		default:
			facts = append(facts, projections.Changed(o, projections.TypeOf(o, events.FactSweepRequested), why, reconcilers.Doomed(o, now)))
		}
	}
	return facts
}

// uid differs for each time something is made, and is the same for everybody who
// looks at the same World.
func uid(w *projections.World, of string, key events.Key) types.UID {
	return reconcilers.UIDOf(of, key.String(), strconv.FormatUint(w.Seq(), 10))
}
