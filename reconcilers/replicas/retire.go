package replicas

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// retire lets the n pods go that are missed least.
func (s set) retire(w *projections.World, n int, now time.Time) []events.Proposal {
	var candidates []candidate
	crowd := s.crowd(w)
	for _, pod := range s.active {
		candidates = append(candidates, newCandidate(pod, crowd[pod.NodeName()]))
	}
	slices.SortStableFunc(candidates, candidate.compare)
	var facts []events.Proposal
	for _, c := range candidates[:min(n, len(candidates))] {
		facts = append(facts, projections.Changed(c.pod, events.PodRetired, s.object.Desired, reconcilers.Doomed(c.pod, now)))
	}
	return facts
}

// crowd counts the active pods per node of all sets that share this one's
// controller.
func (s set) crowd(w *projections.World) map[string]int {
	sets := []*projections.Object{s.object}
	if ref := s.object.Controller(); ref != nil {
		sets = nil
		for o := range w.Dependents(ref.UID) {
			if o.Key.GroupResource() == projections.ReplicaSets {
				sets = append(sets, o)
			}
		}
	}
	crowd := map[string]int{}
	for _, set := range sets {
		for pod := range podsOf(w, set) {
			if projections.PodActive(pod) {
				crowd[pod.NodeName()]++
			}
		}
	}
	return crowd
}

// candidate is what counts for and against retiring a pod.
type candidate struct {
	pod      *projections.Object
	assigned bool
	phase    int // how far it has come
	ready    bool
	cost     int // what its owner says losing it costs
	crowd    int // pods like it on its node
	since    time.Time
	restarts int32
	created  time.Time
}

func newCandidate(pod *projections.Object, crowd int) candidate {
	c := candidate{
		pod: pod, assigned: pod.NodeName() != "", crowd: crowd,
		created: pod.Meta().GetCreationTimestamp().Time,
	}
	c.ready, c.since = projections.PodReady(pod)
	c.phase = slices.Index([]corev1.PodPhase{corev1.PodPending, corev1.PodUnknown, corev1.PodRunning}, projections.PodPhase(pod))
	// A cost that is not a number counts as none; the door has no say in annotations.
	if cost, err := strconv.ParseInt(pod.Annotations()[corev1.PodDeletionCost], 10, 32); err == nil {
		c.cost = int(cost)
	}
	for _, s := range projections.As[*corev1.Pod](pod).Status.ContainerStatuses {
		c.restarts = max(c.restarts, s.RestartCount)
	}
	return c
}

// compare orders pods by who goes first, as upstream does: without a node before
// with one, pending before running, not ready before ready, cheap before dear,
// crowded before alone, ready for a short time before long, restarted often
// before seldom, young before old; then by name.
func (c candidate) compare(o candidate) int {
	order := cmp.Or(
		falseFirst(c.assigned, o.assigned),
		cmp.Compare(c.phase, o.phase),
		falseFirst(c.ready, o.ready),
		cmp.Compare(c.cost, o.cost),
		cmp.Compare(o.crowd, c.crowd),
	)
	if order == 0 && c.ready {
		order = o.since.Compare(c.since)
	}
	return cmp.Or(order,
		cmp.Compare(o.restarts, c.restarts),
		o.created.Compare(c.created),
		strings.Compare(c.pod.Key.Name, o.pod.Key.Name),
	)
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
