package controlplane_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
)

// record appends a fact of the door.
func (b *bench) record(t *testing.T, p events.Proposal) {
	t.Helper()
	p.ID, p.Time, p.Source, p.Actor = b.newID(), time.Now(), events.DoorSource, "user:test"
	p.Change = p.ID
	if _, err := b.log.Append(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) put(t *testing.T, table, kind, name string, obj runtime.Object) {
	t.Helper()
	b.record(t, projections.Created(events.Key{Resource: table, Namespace: "shop", Name: name}, events.TypeOf(kind, events.FactCreated), events.Ref{}, obj))
}

// node follows the feed of a node and remembers what it holds.
type node struct {
	mu      sync.Mutex
	items   map[string]events.FeedItem
	changed chan struct{}
}

func follow(t *testing.T, b *bench, feed events.FeedReader, name string) *node {
	t.Helper()
	n := &node{items: map[string]events.FeedItem{}, changed: make(chan struct{}, 1)}
	b.run(t, func(ctx context.Context) error {
		err := feed.Follow(ctx, name, func(item events.FeedItem) error {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.items[item.Kind+"/"+item.UID] = item; item.Gone {
				delete(n.items, item.Kind+"/"+item.UID)
			}
			select {
			case n.changed <- struct{}{}:
			default:
			}
			return nil
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
	return n
}

// await waits until the node holds an item, or not.
func (n *node) await(t *testing.T, id string, want bool) events.FeedItem {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		n.mu.Lock()
		item, ok := n.items[id]
		n.mu.Unlock()
		if ok == want {
			return item
		}
		select {
		case <-n.changed:
		case <-timeout:
			t.Fatalf("%s held = %v, want %v", id, ok, want)
		}
	}
}

func TestFeederGivesANodeWhatItsPodsUse(t *testing.T) {
	b := newBench(t, memlog.Config{})
	feed := &memlog.Feed{}
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name)}
	}
	b.put(t, projections.ConfigMaps, "configmap", "settings", &corev1.ConfigMap{ObjectMeta: meta("settings")})
	b.put(t, projections.ConfigMaps, "configmap", "unused", &corev1.ConfigMap{ObjectMeta: meta("unused")})
	b.put(t, projections.Secrets, "secret", "password", &corev1.Secret{ObjectMeta: meta("password"), Data: map[string][]byte{"p": []byte("sealed")}})
	spec := corev1.PodSpec{
		NodeName: "n1",
		Containers: []corev1.Container{{
			Name:    "main",
			EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			Env: []corev1.EnvVar{{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "password"}, Key: "p",
			}}}},
		}},
	}
	b.put(t, projections.Pods, "pod", "web", &corev1.Pod{ObjectMeta: meta("web"), Spec: spec})
	b.put(t, projections.Pods, "pod", "other", &corev1.Pod{ObjectMeta: meta("other"), Spec: corev1.PodSpec{NodeName: "n2"}})

	feeder := controlplane.NewFeeder(controlplane.FeederConfig{
		World: b.world, Feed: feed, Nodes: []string{"n1", "n2"}, Logger: zap.NewNop(),
		Open: func(s *corev1.Secret) (*corev1.Secret, error) {
			s.Data["p"] = []byte("open")
			return s, nil
		},
	})
	b.run(t, feeder.Run)
	n1, n2 := follow(t, b, feed, "n1"), follow(t, b, feed, "n2")

	if got := n1.await(t, "synced/n1", true); got.Desired.Seq != 1 {
		t.Errorf("synced item points at %+v, want the first event", got.Desired)
	}
	pod := n1.await(t, "pods/uid-web", true)
	if pod.Desired.Seq == 0 || pod.Desired.ID == "" {
		t.Errorf("pod has no cause: %+v", pod.Desired)
	}
	n1.await(t, "configmaps/uid-settings", true)
	var secret corev1.Secret
	if err := json.Unmarshal(n1.await(t, "secrets/uid-password", true).Object, &secret); err != nil || string(secret.Data["p"]) != "open" {
		t.Errorf("secret = %s, %v", secret.Data["p"], err)
	}
	n2.await(t, "pods/uid-other", true)
	n2.await(t, "synced/n2", true)
	for _, id := range []string{"configmaps/uid-settings", "secrets/uid-password", "pods/uid-web"} {
		n2.await(t, id, false)
	}
	n1.await(t, "configmaps/uid-unused", false)

	w, err := b.world.Await(t.Context(), 6)
	if err != nil {
		t.Fatal(err)
	}
	web, _ := w.Get(events.Key{Resource: projections.Pods, Namespace: "shop", Name: "web"})
	b.record(t, projections.Removed(web, events.TypeOf("pod", events.FactDeleted), events.Ref{}))
	for _, id := range []string{"pods/uid-web", "configmaps/uid-settings", "secrets/uid-password"} {
		n1.await(t, id, false)
	}

	// The same versions come again for the next pod.
	b.put(t, projections.Pods, "pod", "next", &corev1.Pod{ObjectMeta: meta("next"), Spec: spec})
	for _, id := range []string{"pods/uid-next", "configmaps/uid-settings", "secrets/uid-password"} {
		n1.await(t, id, true)
	}
}
