package integration

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyv1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// TestInformer follows config maps the way every controller does, in protobuf:
// what is there, what comes, changes and goes, also across a stop and a start of the
// server on the same port.
func TestInformer(t *testing.T) {
	c, err := newHollow()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.end(context.WithoutCancel(t.Context())); err != nil {
			t.Error("end of the cluster:", err)
		}
	})
	if err := c.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, address := protobuf(t, c)
	create := func(name string) {
		t.Helper()
		if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create("first")

	seen := make(chan string, 100)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace("default"))
	informer := factory.Core().V1().ConfigMaps().Informer()
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { seen <- "added " + o.(*corev1.ConfigMap).Name },
		UpdateFunc: func(_, o any) { seen <- fmt.Sprint("changed ", o.(*corev1.ConfigMap).Name, o.(*corev1.ConfigMap).Data) },
		DeleteFunc: func(o any) { seen <- "deleted " + o.(*corev1.ConfigMap).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	factory.StartWithContext(ctx)
	defer func() { stop(); factory.Shutdown() }()
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		t.Fatal("the informer does not sync")
	}
	await(t, seen, "added first")
	create("second")
	await(t, seen, "added second")
	_, err = client.CoreV1().ConfigMaps("default").Apply(t.Context(), applyv1.ConfigMap("second", "default").WithData(map[string]string{"a": "b"}), metav1.ApplyOptions{FieldManager: "test"})
	if err != nil {
		t.Fatal(err)
	}
	await(t, seen, "changed secondmap[a:b]")

	if err := c.down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	c.flags = append(c.flags, "--api-listen", address)
	if err := c.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().ConfigMaps("default").Delete(t.Context(), "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, seen, "deleted first")
	create("third")
	await(t, seen, "added third")
}

// await holds the next thing that an informer tells to what it should be.
func await(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	select {
	case got := <-seen:
		if got != want {
			t.Fatalf("the informer says %q, want %q", got, want)
		}
	case <-time.After(eventuallyTimeout):
		t.Fatalf("the informer does not say %q", want)
	}
}

// protobuf is a client that speaks it, and the address it speaks to.
func protobuf(t *testing.T, c *binary) (kubernetes.Interface, string) {
	t.Helper()
	conf, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	conf.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	return client, conf.Host[len("https://"):]
}
