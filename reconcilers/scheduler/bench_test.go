package scheduler_test

import (
	"fmt"
	"testing"

	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/scheduler"
)

// One decision for one pod, on 50 nodes with 20 pods each.
func BenchmarkDecide(b *testing.B) {
	c := reconcilertest.New()
	for i := range 50 {
		node := fmt.Sprintf("n%02d", i)
		c.Register(node, nil, with(standard(), "pods", "110"))
		for j := range 20 {
			p := newPod("cpu=50m memory=64Mi")
			p.Spec.NodeName = node
			c.Create(podKey(fmt.Sprintf("p-%d-%d", i, j)), p)
		}
	}
	pod := c.Create(podKey("p"), newPod("cpu=100m"))
	decide := scheduler.New().Decide
	for b.Loop() {
		if facts, _ := decide(c.World(), pod.Key, c.Now()); len(facts) != 1 {
			b.Fatal(facts)
		}
	}
}
