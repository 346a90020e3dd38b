// Package scheduler finds a node for each pod that has none.
//
// Every node is tried against filters that explain their refusals, and those
// that pass get a score. The decision records all candidates with reason or
// score, so that the question why a pod stands where it stands, or nowhere, is
// answered by the event itself. A pod that fits nowhere is told so once for each
// different answer.
//
// Start reading at [New], then filter.go.
package scheduler

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Name is the reconciler's name in the owners table.
const Name = "scheduler"

// New is the reconciler. It is asked about Pods.
func New() reconcilers.Reconciler {
	return reconcilers.Reconciler{Name: Name, Wakes: wakes, Decide: decide}
}

// wakes names a pod that waits for a node; and all that do after a node has
// changed or a pod has made room on one.
func wakes(w *projections.World, c projections.Change) []events.Key {
	switch c.Object.Key.GroupResource() {
	case projections.Nodes:
		return waiting(w)
	case projections.Pods:
		switch {
		case c.Type != projections.Deleted && waits(c.Object):
			return []events.Key{c.Object.Key}
		case c.Prev != nil && uses(c.Prev) && (c.Type == projections.Deleted || !uses(c.Object)):
			return waiting(w)
		}
	}
	return nil
}

// uses reports whether a pod takes room on a node.
func uses(pod *projections.Object) bool {
	return pod.NodeName() != "" && !projections.PodFinished(pod)
}

// waits reports whether a pod is ours to place.
func waits(o *projections.Object) bool {
	if o.Deleting() || o.NodeName() != "" || projections.PodFinished(o) {
		return false
	}
	spec := &projections.As[*corev1.Pod](o).Spec
	return (spec.SchedulerName == "" || spec.SchedulerName == corev1.DefaultSchedulerName) && len(spec.SchedulingGates) == 0
}

// waiting lists the pods that wait for a node: the important ones first, then
// those that wait longest.
func waiting(w *projections.World) []events.Key {
	var pods []*projections.Object
	for o := range w.PodsOnNode("") {
		if waits(o) {
			pods = append(pods, o)
		}
	}
	slices.SortStableFunc(pods, func(a, b *projections.Object) int {
		p, q := projections.As[*corev1.Pod](a), projections.As[*corev1.Pod](b)
		return cmp.Or(
			cmp.Compare(corev1helpers.PodPriority(q), corev1helpers.PodPriority(p)),
			p.CreationTimestamp.Compare(q.CreationTimestamp.Time),
		)
	})
	keys := make([]events.Key, len(pods))
	for i, pod := range pods {
		keys[i] = pod.Key
	}
	return keys
}

// decide places a pod on the best node, or says why there is none.
func decide(w *projections.World, key events.Key, _ time.Time) ([]events.Proposal, time.Time) {
	o, ok := w.Get(key)
	if !ok || key.GroupResource() != projections.Pods || !waits(o) {
		return nil, time.Time{}
	}
	pod := newDemand(o)
	var all []judged
	for node := range w.List(projections.Nodes, "") {
		all = append(all, judge(w, pod, node))
	}
	best := score(pod, all)
	if best == nil {
		return refuse(o, all), time.Time{}
	}
	return []events.Proposal{events.New(key.Wanted(), o.Desired.Seq, events.PodScheduled, o.Desired, events.Scheduled{
		UID: string(o.UID()), Node: best.name, Candidates: candidates(all, best.name),
	})}, time.Time{}
}

// refuse says that no node fits, unless that has been said.
func refuse(o *projections.Object, all []judged) []events.Proposal {
	message := explain(all)
	if projections.PodUnschedulable(o) == message {
		return nil
	}
	return []events.Proposal{events.New(o.Key.Observed(""), o.Own.Seq, events.PodUnschedulable, o.Desired, events.Unschedulable{
		UID: string(o.UID()), Message: message, Candidates: candidates(all, ""),
	})}
}

// mostCandidates is how many candidates an event lists.
const mostCandidates = 100

// candidates lists what was thought of the nodes, in the order of their names.
// If they are too many the chosen one stays.
func candidates(all []judged, chosen string) []events.Candidate {
	out := []events.Candidate{}
	for _, j := range all {
		if len(all) > mostCandidates && j.name != chosen && len(out) >= mostCandidates-1 {
			continue
		}
		out = append(out, events.Candidate{Node: j.name, Fits: j.fits(), Reason: j.reason(), Score: j.score})
	}
	return out
}
