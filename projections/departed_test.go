package projections_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// What removed an owner is known while somebody may have to follow it.
func TestDeparted(t *testing.T) {
	v := newVoyage(t)
	child := newPod("child", nil)
	child.OwnerReferences = owner("ReplicaSet", "lonely", "uid-lonely")
	v.create(podKey("lonely"), newPod("lonely", nil))
	v.create(podKey("childless"), newPod("childless", nil))
	v.create(podKey("child"), child)
	deleted := events.TypeOf("pod", events.FactDeleted)
	gone := v.record(projections.Removed(v.object(podKey("lonely")), deleted, events.Ref{}))
	v.record(projections.Removed(v.object(podKey("childless")), deleted, events.Ref{}))
	if got, ok := v.world.Departed("uid-lonely"); !ok || got != gone {
		t.Errorf("departed by %+v, %v; want %+v", got, ok, gone)
	}
	if _, ok := v.world.Departed("uid-childless"); ok {
		t.Error("one without dependents is remembered")
	}
}

// The scheduler's choice of a node is not a change of the event that first
// records it in the desired half.
func TestChangedLeavesTheSchedulersChoiceOut(t *testing.T) {
	v := newVoyage(t)
	v.create(podKey("p"), newPod("p", nil))
	v.schedule(podKey("p"))
	o := v.object(podKey("p"))
	next := projections.As[*corev1.Pod](o).DeepCopy()
	next.Labels = map[string]string{"a": "b"}
	p := projections.Changed(o, events.TypeOf("pod", events.FactMetadataChanged), events.Ref{}, next)
	v.record(p)
	last := v.log[len(v.log)-1]
	state, err := events.Decode[events.State](last)
	if err != nil || len(state.Changed) != 1 || state.Changed[0] != "metadata.labels" {
		t.Errorf("changed %v, %v", state.Changed, err)
	}
	if got := projections.As[*corev1.Pod](v.object(podKey("p"))).Spec.NodeName; got == "" {
		t.Error("the node was lost")
	}
}
