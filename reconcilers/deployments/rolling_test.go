package deployments_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/replicas"
)

// Whatever the order in which reconcilers and node act, and however late the
// rollout is decided, it never has more pods than the surge allows and never
// fewer available ones than promised; and it ends. (Who makes the pods has to know
// the newest size of their set: a pod made for a size that has just been taken
// back is one too many until it is retired again.)
func FuzzRollingUpdateKeepsItsBounds(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 2))
		c := newCluster(t)
		want, surge, unavailable := 1+r.IntN(8), r.IntN(4), r.IntN(4)
		c.Create(webKey, newDeployment(int32(want), surge, unavailable))
		if r.IntN(3) == 0 {
			c.edit(events.TypeOf("deployment", events.FactSpecChanged), func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 3 })
		}
		c.serveAll()
		most, least := projections.Bounds(c.deployment())
		c.Choose = r.IntN
		c.Lag = func(reconciler string, most int) int {
			if reconciler == replicas.Name {
				return 0
			}
			return max(0, r.IntN(most+1)-most/2)
		}
		c.Watch = func(w *projections.World, e events.Recorded) {
			if active, available := count(w); active > want+most || available < want-least {
				t.Fatalf("after %d %s: %d active of at most %d, %d available of at least %d\n%s", e.Seq, e.Type.Short(),
					active, want+most, available, want-least, reconcilertest.Render(c.Log()))
			}
		}
		for version := 2; version < 5; version++ {
			c.setImage(fmt.Sprintf("web:%d", version))
			for range r.IntN(60) { // the next version may come in the middle
				c.act(r)
			}
		}
		c.serveAll()
		c.wantSizes(map[string]int32{"web:1": 0, "web:2": 0, "web:3": 0, "web:4": int32(want)})
		before := len(c.Log())
		c.Lag = nil
		c.WakeAll()
		c.settle()
		if len(c.Log()) != before {
			t.Errorf("a settled deployment does more at a start:\n%s", reconcilertest.Render(c.Log()[before:]))
		}
	})
}

// act lets anybody do one thing.
func (c cluster) act(r *rand.Rand) {
	c.t.Helper()
	switch r.IntN(4) {
	case 0:
		c.serveOne(r.IntN(100))
	case 1:
		c.Advance(time.Second)
	default:
		if _, err := c.Turn(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// serveAll is serve that waits for pods to mature.
func (c cluster) serveAll() {
	c.t.Helper()
	c.serve()
	for c.AdvanceToAlarm(time.Minute) {
		c.serve()
	}
}

// count counts the active pods and the available ones.
func count(w *projections.World) (active, available int) {
	for o := range w.List(projections.ReplicaSets, "shop") {
		s := projections.As[*appsv1.ReplicaSet](o)
		active += int(s.Status.Replicas)
		available += int(s.Status.AvailableReplicas)
	}
	return active, available
}

// Scaling, new versions, pausing and undoing in any order end in what is wanted.
func FuzzEndsInWhatIsWanted(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 3))
		c := newCluster(t)
		d := newDeployment(int32(r.IntN(5)), r.IntN(3), r.IntN(3))
		limit := int32(r.IntN(3))
		d.Spec.RevisionHistoryLimit = &limit
		if r.IntN(3) == 0 {
			d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
		}
		c.Create(webKey, d)
		c.Choose = r.IntN
		c.Lag = func(_ string, most int) int { return max(0, r.IntN(most+1)-most/2) }
		for range 25 {
			switch r.IntN(5) {
			case 0:
				c.setImage(fmt.Sprintf("web:%d", 1+r.IntN(4)))
			case 1:
				c.scale(int32(r.IntN(6)))
			case 2:
				c.edit(events.DeploymentPaused, func(d *appsv1.Deployment) { d.Spec.Paused = !d.Spec.Paused })
			}
			for range r.IntN(20) {
				c.act(r)
			}
		}
		c.edit(events.DeploymentResumed, func(d *appsv1.Deployment) { d.Spec.Paused = false })
		c.serveAll()
		last := c.deployment()
		image := last.Spec.Template.Spec.Containers[0].Image
		for i, n := range c.sizes() {
			want := int32(0)
			if i == image {
				want = *last.Spec.Replicas
			}
			if n != want {
				t.Errorf("%s has %d, want %d", i, n, want)
			}
		}
		current := c.sets()[image]
		if current == nil || len(c.sets()) > int(limit)+1 {
			t.Fatalf("sets %v, want %s and at most %d old ones", c.sizes(), image, limit)
		}
		if a, b := current.Annotations["deployment.kubernetes.io/revision"], last.Annotations["deployment.kubernetes.io/revision"]; a != b {
			t.Errorf("revision %s, but the deployment says %s", a, b)
		}
	})
}
