package namespaces_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/garbage"
	"periplus.dev/reconcilers/namespaces"
	"periplus.dev/reconcilers/reconcilertest"
)

func nsKey(name string) events.Key { return events.Key{Resource: "namespaces", Name: name} }

func in(namespace, resource, name string) events.Key {
	return events.Key{Resource: resource, Namespace: namespace, Name: name}
}

func newCluster(t *testing.T) *reconcilertest.Cluster {
	c := reconcilertest.New(namespaces.New(), garbage.New())
	settle(t, c)
	return c
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

func newNamespace() *corev1.Namespace {
	return &corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}}
}

func TestProvisions(t *testing.T) {
	c := newCluster(t)
	var names []string
	for o := range c.World().List(projections.Namespaces, "") {
		ns := projections.As[*corev1.Namespace](o)
		names = append(names, ns.Name)
		if ns.Labels[corev1.LabelMetadataName] != ns.Name || ns.UID == "" || ns.CreationTimestamp.IsZero() || !slices.Equal(ns.Spec.Finalizers, []corev1.FinalizerName{"kubernetes"}) {
			t.Errorf("%+v", ns)
		}
		account := c.Object(in(ns.Name, "serviceaccounts", "default"))
		if account == nil || account.UID() == "" {
			t.Errorf("%s has no service account", ns.Name)
		}
	}
	if !slices.Equal(names, []string{"default", "kube-node-lease", "kube-public", "kube-system"}) {
		t.Errorf("namespaces %v", names)
	}
	if n := len(c.Log()); n != 9 {
		t.Errorf("%d events\n%s", n, reconcilertest.Render(c.Log()))
	}
	c.WakeAll()
	settle(t, c)
	if n := len(c.Log()); n != 9 {
		t.Errorf("did more at the next start\n%s", reconcilertest.Render(c.Log()[9:]))
	}
}

func TestServiceAccountComesBack(t *testing.T) {
	c := newCluster(t)
	c.Create(nsKey("shop"), newNamespace())
	settle(t, c)
	k := in("shop", "serviceaccounts", "default")
	before := c.Object(k)
	c.Delete(k)
	settle(t, c)
	if after := c.Object(k); after == nil || after.UID() == before.UID() {
		t.Errorf("before %v, after %v", before.UID(), after)
	}
}

func TestEndsWithItsContent(t *testing.T) {
	c := newCluster(t)
	c.Register("n1", nil, nil)
	c.Create(nsKey("shop"), newNamespace())
	c.Create(in("shop", "configmaps", "plain"), &corev1.ConfigMap{})
	c.Create(in("other", "configmaps", "elsewhere"), &corev1.ConfigMap{}) // its namespace was never made
	held := c.Create(in("shop", "configmaps", "held"), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Finalizers: []string{"x/y"}}})
	pod := c.Create(in("shop", "pods", "p"), &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c"}}}})
	c.Run(pod)
	settle(t, c)
	request := c.RequestDeletion(nsKey("shop"))
	settle(t, c)
	if left := content(c, "shop"); !slices.Equal(left, []string{"held", "p"}) {
		t.Fatalf("left %v", left)
	}
	if r := c.Log()[c.Object(pod.Key).Desired.Seq-1]; r.Type.Short() != "pod.sweep-requested" || r.CauseAt != request.Seq {
		t.Errorf("%s", reconcilertest.Render([]events.Recorded{r}))
	}
	if *c.Object(pod.Key).Meta().GetDeletionGracePeriodSeconds() != 30 {
		t.Error("the pod has no grace")
	}
	c.Stop(c.Object(pod.Key))
	settle(t, c)
	if c.Object(nsKey("shop")) == nil {
		t.Fatal("ended too early")
	}
	reconcilertest.Edit(c, held.Key, events.TypeOf("configmap", events.FactMetadataChanged), func(v *corev1.ConfigMap) { v.Finalizers = nil })
	settle(t, c)
	last := c.Log()[len(c.Log())-1]
	if c.Object(nsKey("shop")) != nil || last.Type != events.NamespaceEmptied || len(content(c, "shop")) > 0 {
		t.Errorf("left %v\n%s", content(c, "shop"), reconcilertest.Render(c.Log()))
	}
	if c.Object(in("default", "serviceaccounts", "default")) == nil {
		t.Error("another namespace was swept")
	}
}

func content(c *reconcilertest.Cluster, namespace string) (names []string) {
	for o := range c.World().Namespaced(namespace) {
		names = append(names, o.Key.Name)
	}
	return names
}

func TestFinalizersHoldIt(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Namespace){
		"of the object": func(ns *corev1.Namespace) { ns.Finalizers = []string{"x/y"} },
		"of the spec":   func(ns *corev1.Namespace) { ns.Spec.Finalizers = append(ns.Spec.Finalizers, "x/y") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			ns := newNamespace()
			edit(ns)
			c.Create(nsKey("shop"), ns)
			c.RequestDeletion(nsKey("shop"))
			settle(t, c)
			if c.Object(nsKey("shop")) == nil || len(content(c, "shop")) > 0 {
				t.Fatalf("exists: %v, content %v", c.Object(nsKey("shop")) != nil, content(c, "shop"))
			}
			reconcilertest.Edit(c, nsKey("shop"), events.TypeOf("namespace", events.FactMetadataChanged), func(ns *corev1.Namespace) {
				ns.Finalizers, ns.Spec.Finalizers = nil, nil
			})
			settle(t, c)
			if c.Object(nsKey("shop")) != nil {
				t.Error("stays")
			}
		})
	}
}

// What somebody made in a namespace just as it went does not stay for ever.
func TestLateComerIsSwept(t *testing.T) {
	c := newCluster(t)
	c.Create(nsKey("shop"), newNamespace())
	c.RequestDeletion(nsKey("shop"))
	settle(t, c)
	late := c.Create(in("shop", "configmaps", "late"), &corev1.ConfigMap{})
	settle(t, c)
	if c.Object(late.Key) != nil {
		t.Error("stays")
	}
	if last := c.Log()[len(c.Log())-1]; last.CauseAt != late.Desired.Seq {
		t.Errorf("%s", reconcilertest.Render([]events.Recorded{last}))
	}
}

// A copy that decided on an older World does no harm.
func TestLateCopyIsRefused(t *testing.T) {
	c := newCluster(t)
	c.Create(nsKey("shop"), newNamespace())
	c.Create(in("shop", "configmaps", "c"), &corev1.ConfigMap{})
	settle(t, c)
	c.RequestDeletion(nsKey("shop"))
	late := c.Ask(namespaces.Name, nsKey("shop"))
	settle(t, c)
	n := len(c.Log())
	for _, p := range late {
		if _, err := c.Apply(p); err == nil {
			t.Errorf("%s of %s was recorded again", p.Type.Short(), p.Subject.Key)
		}
	}
	if len(late) == 0 || len(c.Log()) != n {
		t.Errorf("%d late proposals, %d events more", len(late), len(c.Log())-n)
	}
}
