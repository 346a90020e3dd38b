package projections

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// SlotAnnotation holds the number of the place a replica stands in, from 0. A
// replacement stands in the place of the pod it replaces.
const SlotAnnotation = "periplus.dev/slot"

// Slot is the place a pod stands in; ok is false if it has none.
func Slot(o *Object) (slot int, ok bool) {
	slot, err := strconv.Atoi(o.Annotations()[SlotAnnotation])
	return slot, err == nil && slot >= 0
}

// setFacts is what was observed of a ReplicaSet: its pods, counted.
type setFacts struct {
	counts    setCounts
	requested int
	vacated   map[int]events.Ref
	reported  *appsv1.ReplicaSetStatus
}

// setCounts counts the pods of a set.
type setCounts struct{ replicas, labeled, ready, matured, terminating int }

func (c setCounts) plus(o setCounts, sign int) setCounts {
	return setCounts{
		c.replicas + sign*o.replicas, c.labeled + sign*o.labeled, c.ready + sign*o.ready,
		c.matured + sign*o.matured, c.terminating + sign*o.terminating,
	}
}

// SetState is what replica decisions need beside the pods themselves.
type SetState struct {
	// Requested counts the pods ever requested for the set, so that a name is
	// never used twice.
	Requested int
	// Vacated holds for each slot whose pod is gone, ended or going, and that has
	// not been filled again, the event that vacated it. Not to be modified.
	Vacated map[int]events.Ref
}

// StateOfSet returns the folded state of a ReplicaSet.
func StateOfSet(o *Object) SetState {
	s := setFactsOf(o)
	return SetState{Requested: s.requested, Vacated: s.vacated}
}

func setFactsOf(o *Object) setFacts { s, _ := o.facts.(setFacts); return s }

// propagate lets the owners of an object follow its change: a ReplicaSet its
// pods, a Deployment its ReplicaSets. after is nil if the object is gone.
func (f *folding) propagate(before, after *Object) {
	some := after
	if some == nil {
		some = before
	}
	owners := map[types.UID]bool{}
	var order []types.UID
	for _, o := range []*Object{before, after} {
		if o == nil {
			continue
		}
		if ref := o.Controller(); ref != nil && !owners[ref.UID] {
			owners[ref.UID] = true
			order = append(order, ref.UID)
		}
	}
	for _, uid := range order {
		owner, ok := f.byUID(uid)
		switch {
		case !ok:
		case some.Key.GroupResource() == Pods && owner.Key.GroupResource() == ReplicaSets:
			f.recountSet(owner, before, after)
		case some.Key.GroupResource() == ReplicaSets && owner.Key.GroupResource() == Deployments:
			f.follow(owner)
		}
	}
}

func (f *folding) byUID(uid types.UID) (*Object, bool) {
	k, ok := f.index.Get(indexKey(byUID, string(uid), events.Key{}))
	if !ok {
		return nil, false
	}
	return f.objects.Get(objectKey(k))
}

// dependents lists the objects of a table that uid controls, as of now.
func (f *folding) dependents(uid types.UID, table string) []*Object {
	var out []*Object
	it := f.index.Root().Iterator()
	it.SeekPrefix([]byte(string(indexPrefix(byOwner, string(uid))) + table + sep))
	for _, k, ok := it.Next(); ok; _, k, ok = it.Next() {
		if o, ok := f.objects.Get(objectKey(k)); ok {
			if ref := o.Controller(); ref != nil && ref.UID == uid {
				out = append(out, o)
			}
		}
	}
	return out
}

// derive completes an object whose own event was folded with what follows from
// its dependents.
func (f *folding) derive(o *Object) *Object {
	switch o.Key.GroupResource() {
	case ReplicaSets:
		s := setFactsOf(o)
		s.counts = setCounts{}
		for _, pod := range f.dependents(o.UID(), Pods) {
			s.counts = s.counts.plus(contribution(o, pod), 1)
		}
		o.facts = s
	case Deployments:
		o.facts = f.rollout(o)
	}
	return o
}

// recountSet updates a ReplicaSet after one of its pods changed.
func (f *folding) recountSet(set, before, after *Object) {
	was, is := contribution(set, before), contribution(set, after)
	s := setFactsOf(set)
	next := s
	next.counts = s.counts.plus(was, -1).plus(is, 1)
	mine := after != nil && after.Controller() != nil && after.Controller().UID == set.UID()
	if before == nil && f.r.Type == events.PodRequested {
		next.requested++
	}
	if mine && is.replicas > was.replicas {
		if slot, ok := Slot(after); ok && next.vacated[slot] != (events.Ref{}) {
			next.vacated = maps.Clone(next.vacated)
			delete(next.vacated, slot)
		}
	}
	if was.replicas > is.replicas {
		if slot, ok := Slot(before); ok {
			next.vacated = maps.Clone(next.vacated)
			if next.vacated == nil {
				next.vacated = map[int]events.Ref{}
			}
			next.vacated[slot] = f.r.Ref()
		}
	}
	if next.counts == s.counts && next.requested == s.requested {
		return
	}
	o := set.with(f.r)
	o.facts = next
	f.put(o, set)
}

// contribution is what a pod adds to the counts of a set: nothing if the set
// does not control it.
func contribution(set, pod *Object) setCounts {
	if pod == nil {
		return setCounts{}
	}
	if ref := pod.Controller(); ref == nil || ref.UID != set.UID() {
		return setCounts{}
	}
	if !PodActive(pod) {
		if pod.Deleting() && !PodFinished(pod) {
			return setCounts{terminating: 1}
		}
		return setCounts{}
	}
	c := setCounts{replicas: 1}
	template := map[string]string{}
	if v, ok := set.half.decode(ReplicaSets).(*appsv1.ReplicaSet); ok { // not Value: the set may still be in the making
		template = v.Spec.Template.Labels
	}
	if isSubset(template, pod.Labels()) {
		c.labeled = 1
	}
	if ready, _ := PodReady(pod); ready {
		c.ready = 1
		if PodMatured(pod) {
			c.matured = 1
		}
	}
	return c
}

func isSubset(want, have map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// apply writes the status of a ReplicaSet.
func (s setFacts) apply(_ *Object, v runtime.Object) {
	set, ok := v.(*appsv1.ReplicaSet)
	if !ok {
		return
	}
	if s.reported != nil {
		set.Status.Conditions = s.reported.Conditions
	}
	available := s.counts.matured
	if set.Spec.MinReadySeconds == 0 {
		available = s.counts.ready
	}
	set.Status.Replicas = count32(s.counts.replicas)
	set.Status.FullyLabeledReplicas = count32(s.counts.labeled)
	set.Status.ReadyReplicas = count32(s.counts.ready)
	set.Status.AvailableReplicas = count32(available)
	terminating := count32(s.counts.terminating)
	set.Status.TerminatingReplicas = &terminating
	set.Status.ObservedGeneration = set.Generation
}

func count32(n int) int32 { return int32(max(n, 0)) }

// follow updates a Deployment after one of its ReplicaSets changed.
func (f *folding) follow(d *Object) {
	next := f.rollout(d)
	if prev, ok := d.facts.(rolloutFacts); ok && prev.equal(next) {
		return
	}
	o := d.with(f.r)
	o.facts = next
	f.put(o, d)
}

// rollout folds the status of a Deployment from its ReplicaSets.
func (f *folding) rollout(d *Object) rolloutFacts {
	prev, _ := d.facts.(rolloutFacts)
	return rolloutOf(d, f.dependents(d.UID(), ReplicaSets), prev, f.r.Time)
}

// since keeps the time of a condition that did not change.
func since(same bool, before, now time.Time) time.Time {
	if same {
		return before
	}
	return now
}
