// Package replicas keeps the number of pods of a ReplicaSet equal to the number
// asked for.
//
// A set takes the pods that match its selector and belong to nobody, lets go of
// those that match no longer, makes pods where it has too few and retires some
// where it has too many. Each pod stands in a slot: a replacement takes the place
// of the pod it replaces, and the event that emptied the place is its cause.
//
// Pods that finished or are on their way out don't count; who ends them is
// decided elsewhere. Start reading at [New].
package replicas

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Name is the reconciler's name in the owners table.
const Name = "replicas"

// New is the reconciler. It is asked about ReplicaSets.
func New() reconcilers.Reconciler {
	return reconcilers.Reconciler{Name: Name, Wakes: wakes, Decide: decide}
}

// wakes names a set that changed, the sets whose pod changed, and those that
// could take a pod that belongs to nobody.
func wakes(w *projections.World, c projections.Change) []events.Key {
	var keys []events.Key
	switch c.Object.Key.GroupResource() {
	case projections.ReplicaSets:
		keys = append(keys, c.Object.Key)
	case projections.Pods:
		for k := range reconcilers.Controllers(w, c, projections.ReplicaSets, selectorOf) {
			keys = append(keys, k)
		}
	}
	return keys
}

func selectorOf(o *projections.Object) *metav1.LabelSelector {
	return projections.As[*appsv1.ReplicaSet](o).Spec.Selector
}

// decide settles who owns what first; then the number of pods, and which of them
// have been ready for long enough.
func decide(w *projections.World, key events.Key, now time.Time) (facts []events.Proposal, again time.Time) {
	o, ok := w.Get(key)
	if !ok || key.GroupResource() != projections.ReplicaSets || o.Deleting() {
		return nil, time.Time{}
	}
	s := newSet(w, o)
	if facts := s.claim(w); len(facts) > 0 {
		return facts, time.Time{}
	}
	matured, again := s.mature(now)
	switch missing, ready := s.missing(), s.patience(); {
	case missing > 0 && !s.mayFill(w):
	case missing > 0 && ready.After(now):
		again = earlier(again, ready)
	case missing > 0:
		facts = s.fill(w, min(missing, burst), now)
	case missing < 0:
		facts = s.retire(w, min(-missing, burst), now)
	}
	return append(facts, matured...), again
}

// mayFill reports whether the pods that the set would make would stay with it.
func (s set) mayFill(w *projections.World) bool {
	return reconcilers.SelectsOwn(s.value.Spec.Selector, s.value.Spec.Template.Labels) && !reconcilers.NamespaceGoes(w, s.object.Key.Namespace)
}

// earlier is the earlier of two times; zero stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// burst is the most pods made or retired by one decision.
const burst = 500
