package garbage_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/garbage"
	"periplus.dev/reconcilers/reconcilertest"
)

func key(resource, name string) events.Key {
	k := events.Key{Resource: resource, Namespace: "shop", Name: name}
	if resource == "deployments" || resource == "replicasets" {
		k.Group = "apps"
	}
	return k
}

// ownedBy refers to owners that hold: their deletion in the foreground waits.
func ownedBy(owners ...*projections.Object) metav1.ObjectMeta {
	var m metav1.ObjectMeta
	yes := true
	for i, o := range owners {
		version := "v1"
		if o.Key.Group != "" {
			version = o.Key.Group + "/v1"
		}
		first := i == 0
		m.OwnerReferences = append(m.OwnerReferences, metav1.OwnerReference{
			APIVersion: version, Kind: o.Kind(), Name: o.Key.Name, UID: o.UID(), Controller: &first, BlockOwnerDeletion: &yes,
		})
	}
	return m
}

func settle(t *testing.T, c *reconcilertest.Cluster) {
	t.Helper()
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := c.Checked(); err != nil {
		t.Fatalf("%v\n%s", err, reconcilertest.Render(c.Log()))
	}
}

func (f family) exist(want ...events.Key) {
	f.t.Helper()
	for _, k := range []events.Key{f.deployment.Key, f.set.Key, f.pod.Key} {
		if got := f.Object(k) != nil; got != slices.Contains(want, k) {
			f.t.Fatalf("%s exists: %v\n%s", k, got, reconcilertest.Render(f.Log()))
		}
	}
}

// family is a deployment with a set with a pod that stands on a node.
type family struct {
	*reconcilertest.Cluster
	t                    *testing.T
	deployment, set, pod *projections.Object
}

func newFamily(t *testing.T) family {
	f := family{Cluster: reconcilertest.New(garbage.New()), t: t}
	f.Register("n1", nil, map[string]string{"pods": "10"})
	f.deployment = f.Create(key("deployments", "web"), &appsv1.Deployment{})
	f.set = f.Create(key("replicasets", "web-1"), &appsv1.ReplicaSet{ObjectMeta: ownedBy(f.deployment)})
	f.pod = f.Create(key("pods", "web-1-a"), &corev1.Pod{
		ObjectMeta: ownedBy(f.set), Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c"}}},
	})
	f.Run(f.pod)
	settle(t, f.Cluster)
	f.exist(f.deployment.Key, f.set.Key, f.pod.Key)
	return f
}

func (f family) last() events.Recorded { return f.Log()[len(f.Log())-1] }

func TestBackground(t *testing.T) {
	f := newFamily(t)
	request := f.Delete(f.deployment.Key)
	settle(t, f.Cluster)
	f.exist(f.pod.Key)
	pod := f.Object(f.pod.Key)
	if !pod.Deleting() || f.last().Type.Short() != "pod.collect-requested" {
		t.Fatalf("\n%s", reconcilertest.Render(f.Log()))
	}
	chain := f.CauseChain(pod.Desired.Seq)
	if len(chain) != 3 || chain[1].Type.Short() != "replicaset.collected" || chain[2].Seq != request.Seq {
		t.Errorf("because of\n%s", reconcilertest.Render(chain))
	}
	f.Stop(pod)
	settle(t, f.Cluster)
	f.exist()
	if last := f.last(); last.Type.Short() != "pod.finalized" || f.Log()[last.CauseAt-1].Type != events.PodStopped {
		t.Errorf("\n%s", reconcilertest.Render(f.CauseChain(last.Seq)))
	}
}

func TestForeground(t *testing.T) {
	f := newFamily(t)
	f.RequestDeletion(f.deployment.Key, metav1.FinalizerDeleteDependents)
	settle(t, f.Cluster)
	f.exist(f.deployment.Key, f.set.Key, f.pod.Key)
	for _, k := range []events.Key{f.set.Key, f.pod.Key} {
		if !f.Object(k).Deleting() {
			t.Errorf("%s was not told to go", k)
		}
	}
	f.Stop(f.Object(f.pod.Key))
	settle(t, f.Cluster)
	f.exist()
	var order []string
	for _, r := range f.Log() {
		if spec, _ := events.Lookup(r.Type); spec.Terminal && spec.Half == events.Desired {
			order = append(order, r.Subject.Key.Resource)
		}
	}
	if !slices.Equal(order, []string{"pods", "replicasets", "deployments"}) {
		t.Errorf("order %v", order)
	}
}

func TestOrphan(t *testing.T) {
	f := newFamily(t)
	f.RequestDeletion(f.deployment.Key, metav1.FinalizerOrphanDependents)
	settle(t, f.Cluster)
	f.exist(f.set.Key, f.pod.Key)
	if set := f.Object(f.set.Key); set.Deleting() || len(set.Owners()) > 0 {
		t.Errorf("deleting %v, owners %v", set.Deleting(), set.Owners())
	}
}

func TestWhatHolds(t *testing.T) {
	two := int64(2)
	none := int64(0)
	now := metav1.Unix(1_800_000_000, 0)
	going := func(grace *int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{DeletionTimestamp: &now, DeletionGracePeriodSeconds: grace}
	}
	onNode := func(m metav1.ObjectMeta, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: m, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c"}}}}
	}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		stop bool
		want bool // it stays
	}{
		"running":                    {pod: onNode(going(&two), "n1"), want: true},
		"stopped":                    {pod: onNode(going(&two), "n1"), stop: true},
		"forced":                     {pod: onNode(going(&none), "n1")},
		"not scheduled":              {pod: onNode(going(&two), "")},
		"on a node that is no more":  {pod: onNode(going(&two), "gone")},
		"finalizer":                  {pod: onNode(metav1.ObjectMeta{DeletionTimestamp: &now, Finalizers: []string{"x/y"}}, ""), want: true},
		"nobody asked for it":        {pod: onNode(metav1.ObjectMeta{}, "n1"), want: true},
		"without a grace, not ended": {pod: onNode(going(nil), "n1"), want: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New(garbage.New())
			c.Register("n1", nil, nil)
			pod := c.Create(key("pods", "p"), test.pod)
			if test.stop {
				c.Stop(pod)
			}
			settle(t, c)
			if got := c.Object(pod.Key) != nil; got != test.want {
				t.Errorf("stays: %v, want %v", got, test.want)
			}
		})
	}
}

func TestNamespaceIsNotEndedHere(t *testing.T) {
	c := reconcilertest.New(garbage.New())
	k := events.Key{Resource: "namespaces", Name: "shop"}
	c.Create(k, &corev1.Namespace{})
	c.RequestDeletion(k)
	settle(t, c)
	if c.Object(k) == nil {
		t.Error("removed")
	}
}

func TestUnknownOwnerIsLeftInPeace(t *testing.T) {
	c := reconcilertest.New(garbage.New())
	yes := true
	for i, ref := range []metav1.OwnerReference{
		{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "x"},
		{APIVersion: "a/b/c", Kind: "Pod", Name: "x", UID: "x"},
		{APIVersion: "example.com/v1", Kind: "Deployment", Name: "x", UID: "x", Controller: &yes},
	} {
		m := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{ref}}
		c.Create(key("configmaps", fmt.Sprint("c", i)), &corev1.ConfigMap{ObjectMeta: m})
	}
	before := len(c.Log())
	settle(t, c)
	if len(c.Log()) != before {
		t.Errorf("did\n%s", reconcilertest.Render(c.Log()[before:]))
	}
}

// An owner in another namespace does not count.
func TestOwnerInAnotherNamespace(t *testing.T) {
	c := reconcilertest.New(garbage.New())
	k := key("configmaps", "owner")
	k.Namespace = "other"
	owner := c.Create(k, &corev1.ConfigMap{})
	c.Create(key("configmaps", "c"), &corev1.ConfigMap{ObjectMeta: ownedBy(owner)})
	settle(t, c)
	if c.Object(key("configmaps", "c")) != nil {
		t.Error("stays")
	}
}

func TestOneOwnerIsLeft(t *testing.T) {
	c := reconcilertest.New(garbage.New())
	a, b := c.Create(key("configmaps", "a"), &corev1.ConfigMap{}), c.Create(key("configmaps", "b"), &corev1.ConfigMap{})
	child := c.Create(key("secrets", "child"), &corev1.Secret{ObjectMeta: ownedBy(a, b)})
	c.Delete(a.Key)
	settle(t, c)
	if o := c.Object(child.Key); o == nil || len(o.Owners()) != 1 || o.Owners()[0].UID != b.UID() {
		t.Fatalf("\n%s", reconcilertest.Render(c.Log()))
	}
	c.Delete(b.Key)
	settle(t, c)
	if c.Object(child.Key) != nil {
		t.Error("stays without owners")
	}
}

// Of any graph of owners exactly that goes which no living owner holds; and two
// copies that look at Worlds of the past change nothing of that.
func FuzzCollectsWhatIsUnowned(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 5))
		c := reconcilertest.New(garbage.New(), garbage.New())
		c.Choose = r.IntN
		c.Lag = func(_ string, most int) int { return max(0, r.IntN(most+1)-most/2) }
		parents := map[events.Key][]events.Key{}
		var all []*projections.Object
		for i := range 3 + r.IntN(15) {
			k := key([]string{"configmaps", "secrets", "deployments"}[r.IntN(3)], fmt.Sprint("o", i))
			var owners []*projections.Object
			for range r.IntN(3) {
				if len(all) > 0 {
					owner := all[r.IntN(len(all))]
					owners = append(owners, owner)
					parents[k] = append(parents[k], owner.Key)
				}
			}
			all = append(all, create(c, k, ownedBy(owners...)))
		}
		deleted := map[events.Key]bool{}
		for _, o := range all {
			if r.IntN(4) > 0 || c.Object(o.Key) == nil || c.Object(o.Key).Deleting() {
				continue
			}
			deleted[o.Key] = true
			if r.IntN(2) == 0 {
				c.Delete(o.Key)
			} else {
				c.RequestDeletion(o.Key, metav1.FinalizerDeleteDependents)
			}
			for range r.IntN(3) {
				if _, err := c.Turn(); err != nil {
					t.Fatal(err)
				}
			}
		}
		settle(t, c)
		for _, o := range all { // owners stand before what they own
			ps := parents[o.Key]
			goes := deleted[o.Key] || len(ps) > 0 && !slices.ContainsFunc(ps, func(p events.Key) bool { return !deleted[p] })
			deleted[o.Key] = goes
			if got := c.Object(o.Key) == nil; got != goes {
				t.Errorf("%s is gone: %v, want %v\n%s", o.Key, got, goes, reconcilertest.Render(c.Log()))
			}
		}
	})
}

func create(c *reconcilertest.Cluster, k events.Key, m metav1.ObjectMeta) *projections.Object {
	switch k.Resource {
	case "secrets":
		return c.Create(k, &corev1.Secret{ObjectMeta: m})
	case "deployments":
		return c.Create(k, &appsv1.Deployment{ObjectMeta: m})
	default:
		return c.Create(k, &corev1.ConfigMap{ObjectMeta: m})
	}
}
