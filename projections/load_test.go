package projections_test

import (
	"fmt"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// TestLoadIsTheSumOfThePods follows pods from binding to their end and compares
// the load of their node with what its pods take.
func TestLoadIsTheSumOfThePods(t *testing.T) {
	v := newVoyage(t)
	check := func(what string) {
		t.Helper()
		var pods int
		cpu, weight, ports := int64(0), int64(0), 0
		controllers := map[types.UID]int{}
		for o := range v.world.PodsOnNode("n1") {
			if projections.PodFinished(o) {
				continue
			}
			u := projections.UsageOf(o)
			pods++
			cpu += u.Requests[corev1.ResourceCPU]
			weight += u.Weight[corev1.ResourceMemory]
			ports += len(u.Ports)
			if ref := o.Controller(); ref != nil && !o.Deleting() {
				controllers[ref.UID]++
			}
		}
		l := v.world.Load("n1")
		if l.Pods != pods || l.Requests[corev1.ResourceCPU] != cpu || l.Weight[corev1.ResourceMemory] != weight || len(l.Ports) != ports {
			t.Errorf("%s: load = %+v, want %d pods, %d of CPU, weight %d, %d ports", what, l, pods, cpu, weight, ports)
		}
		if len(controllers)+len(l.Controllers) > 0 && !reflect.DeepEqual(l.Controllers, controllers) {
			t.Errorf("%s: controllers = %v, want %v", what, l.Controllers, controllers)
		}
	}
	for i := range 4 {
		name := fmt.Sprintf("p%d", i)
		v.create(podKey(name), newPod(name, func(p *corev1.Pod) {
			p.OwnerReferences = owner("ReplicaSet", "s", "uid-s")
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: int32(8000 + i)}}
		}))
		check("created " + name)
		v.schedule(podKey(name))
		check("scheduled " + name)
	}
	if l := v.world.Load("n1"); l.Pods != 4 || l.Requests[corev1.ResourceCPU] != 1000 || l.Controllers["uid-s"] != 4 {
		t.Errorf("load of four pods = %+v", l)
	}
	v.observe(podKey("p0"), events.ContainerStarted, startedFact("uid-p0", 0))
	v.observe(podKey("p0"), events.ContainerExited, exitedFact("uid-p0", 0, 0, "Completed"))
	check("p0 finished")
	doomed := projections.As[*corev1.Pod](v.object(podKey("p1"))).DeepCopy()
	doomed.DeletionTimestamp = &doomed.CreationTimestamp
	v.record(projections.Changed(v.object(podKey("p1")), events.TypeOf("pod", events.FactDeletionRequested), events.Ref{}, doomed))
	check("p1 is to go")
	for i := range 4 {
		k := podKey(fmt.Sprintf("p%d", i))
		v.record(projections.Removed(v.object(k), events.TypeOf("pod", events.FactDeleted), events.Ref{}))
		check("removed " + k.Name)
	}
	if l := v.world.Load("n1"); l.Pods != 0 {
		t.Errorf("load of an empty node = %+v", l)
	}
}
