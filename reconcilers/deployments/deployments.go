// Package deployments rolls the pod template of a Deployment out: it keeps one
// ReplicaSet per revision, the newest with the template that is wanted, and moves
// replicas from the old ones to it without having too many or too few.
//
// What it writes on Deployments and ReplicaSets (names, labels, the annotations
// with revisions and sizes) is what Kubernetes writes, so that kubectl rollout
// status, history and undo work on it.
//
// One decision takes one step: who owns what, then the current set and its
// revision, then sizes after the deployment was scaled, then the rollout, then
// the history. Start reading at [New], then plan.go.
package deployments

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Name is the reconciler's name in the owners table.
const Name = "deployments"

// New is the reconciler. It is asked about Deployments.
func New() reconcilers.Reconciler {
	return reconcilers.Reconciler{Name: Name, Wakes: wakes, Decide: decide}
}

// wakes names a deployment that changed or whose sets changed; sets follow their
// pods. And those that could take a set that belongs to nobody.
func wakes(w *projections.World, c projections.Change) []events.Key {
	var keys []events.Key
	switch c.Object.Key.GroupResource() {
	case projections.Deployments:
		keys = append(keys, c.Object.Key)
	case projections.ReplicaSets:
		for k := range reconcilers.Controllers(w, c, projections.Deployments, selectorOf) {
			keys = append(keys, k)
		}
	}
	return keys
}

func selectorOf(o *projections.Object) *metav1.LabelSelector {
	return projections.As[*appsv1.Deployment](o).Spec.Selector
}

// decide takes the first step that has something to do.
func decide(w *projections.World, key events.Key, now time.Time) (facts []events.Proposal, again time.Time) {
	o, ok := w.Get(key)
	if !ok || key.GroupResource() != projections.Deployments || o.Deleting() || reconcilers.NamespaceGoes(w, key.Namespace) {
		return nil, time.Time{}
	}
	p := newPlan(w, o, now)
	if !reconcilers.SelectsOwn(p.value.Spec.Selector, p.value.Spec.Template.Labels) {
		return nil, time.Time{}
	}
	for _, step := range []func() []events.Proposal{p.claim, p.follow, p.rescale, p.rollOut, p.prune} {
		if facts := step(); len(facts) > 0 {
			return facts, time.Time{}
		}
	}
	return nil, time.Time{}
}
