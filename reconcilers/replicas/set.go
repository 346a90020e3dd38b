package replicas

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// set is a ReplicaSet and the pods that count as its replicas.
type set struct {
	object *projections.Object
	value  *appsv1.ReplicaSet
	active []*projections.Object // in the order of their names
	slots  map[int]bool          // taken by them

	failed   int       // pods that failed and are still there
	failedAt time.Time // when the newest of them was made
}

func newSet(w *projections.World, o *projections.Object) set {
	s := set{object: o, value: projections.As[*appsv1.ReplicaSet](o), slots: map[int]bool{}}
	for pod := range podsOf(w, o) {
		switch {
		case projections.PodActive(pod):
			s.active = append(s.active, pod)
			if slot, ok := projections.Slot(pod); ok {
				s.slots[slot] = true
			}
		case !pod.Deleting() && projections.PodPhase(pod) == corev1.PodFailed:
			s.failed++
			if at := pod.Meta().GetCreationTimestamp().Time; at.After(s.failedAt) {
				s.failedAt = at
			}
		}
	}
	return s
}

// The first few failed pods are replaced at once; then each makes the next wait
// twice as long, so that pods that no node takes don't fill the log.
const (
	replacedAtOnce = 5
	longestWait    = 5 * time.Minute
)

// patience is the time before which no pod is to be made.
func (s set) patience() time.Time {
	if s.failed <= replacedAtOnce {
		return time.Time{}
	}
	doublings := min(s.failed-replacedAtOnce, 10)
	return s.failedAt.Add(min(time.Second<<doublings, longestWait))
}

// podsOf yields the pods that a set controls, in the order of their names.
func podsOf(w *projections.World, set *projections.Object) func(yield func(*projections.Object) bool) {
	return func(yield func(*projections.Object) bool) {
		for o := range w.Dependents(set.UID()) {
			ref := o.Controller()
			if o.Key.GroupResource() == projections.Pods && ref != nil && ref.UID == set.UID() && !yield(o) {
				return
			}
		}
	}
}

// missing is how many replicas the set lacks; negative if it has too many.
func (s set) missing() int {
	want := 1
	if n := s.value.Spec.Replicas; n != nil {
		want = max(int(*n), 0)
	}
	return want - len(s.active)
}

// freeSlot returns the lowest free slot and takes it.
func (s set) freeSlot() int {
	slot := 0
	for s.slots[slot] {
		slot++
	}
	s.slots[slot] = true
	return slot
}

// claim takes pods that belong to nobody and lets go of those that match no
// longer.
func (s set) claim(w *projections.World) []events.Proposal {
	var facts []events.Proposal
	c := reconcilers.ClaimOf(w, s.object, projections.Pods, s.value.Spec.Selector)
	for _, pod := range c.Adopt {
		if projections.PodFinished(pod) {
			continue
		}
		v, m := reconcilers.WithOwner(pod, reconcilers.ControlledBy(s.value, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")))
		m.SetAnnotations(annotated(m.GetAnnotations(), s.slotFor(pod)))
		facts = append(facts, projections.Changed(pod, events.PodAdopted, s.object.Desired.Newer(pod.Desired), v))
	}
	for _, pod := range c.Release {
		v, m := reconcilers.WithoutOwners(pod, s.object.UID())
		annotations := m.GetAnnotations()
		delete(annotations, projections.SlotAnnotation)
		m.SetAnnotations(annotations)
		facts = append(facts, projections.Changed(pod, events.PodReleased, s.object.Desired.Newer(pod.Desired), v))
	}
	return facts
}

// slotFor is the slot a pod says it stands in if that is free, or another.
func (s set) slotFor(pod *projections.Object) int {
	if slot, ok := projections.Slot(pod); ok && !s.slots[slot] {
		s.slots[slot] = true
		return slot
	}
	return s.freeSlot()
}

func annotated(annotations map[string]string, slot int) map[string]string {
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[projections.SlotAnnotation] = strconv.Itoa(slot)
	return annotations
}

// mature records which pods have been ready for minReadySeconds, and returns
// when the next one will have been; the zero time if none will.
func (s set) mature(now time.Time) (facts []events.Proposal, again time.Time) {
	wait := time.Duration(s.value.Spec.MinReadySeconds) * time.Second
	if wait <= 0 {
		return nil, time.Time{} // a pod that is ready is available
	}
	for _, pod := range s.active {
		ready, since := projections.PodReady(pod)
		if !ready || projections.PodMatured(pod) {
			continue
		}
		due := since.Add(wait)
		if due.After(now) {
			again = earlier(again, due)
			continue
		}
		facts = append(facts, events.New(pod.Key.Observed(""), pod.Own.Seq, events.PodMatured, pod.Last(), events.Matured{UID: string(pod.UID())}))
	}
	return facts, again
}
