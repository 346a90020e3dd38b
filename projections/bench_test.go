package projections_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// BenchmarkFold folds the log of one ReplicaSet whose pods come up: four events
// for each pod.
func BenchmarkFold(b *testing.B) {
	const pods = 1000
	v := &voyage{t: &testing.T{}, world: projections.Empty()}
	setKey := events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: "web"}
	n := int32(pods)
	labels := map[string]string{"app": "web"}
	v.create(setKey, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-s"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &n, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
	})
	for i := range pods {
		name := fmt.Sprintf("web-%d", i)
		p := projections.Created(podKey(name), events.PodRequested, events.Ref{}, newPod(name, func(p *corev1.Pod) {
			p.OwnerReferences, p.Labels = owner("ReplicaSet", "web", "uid-s"), labels
		}))
		v.record(p)
		v.schedule(podKey(name))
		v.observe(podKey(name), events.PodSandboxCreated, events.SandboxCreated{UID: "uid-" + name, PodIPs: []string{"10.1.0.5"}})
		v.observe(podKey(name), events.ContainerStarted, startedFact("uid-"+name, 0))
	}
	b.ReportAllocs()
	for b.Loop() {
		w := projections.Empty()
		for _, r := range v.log {
			w, _ = w.Fold(r)
		}
	}
	b.ReportMetric(float64(b.N)*float64(len(v.log))/b.Elapsed().Seconds(), "events/s")
}

// roster is a World of 10,000 pods of 100 sets that run on 100 nodes, and of what
// kubectl describe says of each: about 50,000 events.
func roster(b *testing.B) (w *projections.World, recorded int) {
	b.Helper()
	v := &voyage{t: &testing.T{}, world: projections.Empty()}
	labels := map[string]string{"app": "web"}
	for s := range 100 {
		set := fmt.Sprintf("web-%d", s)
		v.create(events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: set}, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: set, Namespace: "shop", UID: types.UID("uid-" + set)},
			Spec:       appsv1.ReplicaSetSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}},
		})
		for i := range 100 {
			name := fmt.Sprintf("%s-%d", set, i)
			v.record(projections.Created(podKey(name), events.PodRequested, events.Ref{}, newPod(name, func(p *corev1.Pod) {
				p.OwnerReferences, p.Labels = owner("ReplicaSet", set, "uid-"+set), labels
			})))
			v.schedule(podKey(name))
			uid := "uid-" + name
			v.observe(podKey(name), events.PodSandboxCreated, events.SandboxCreated{UID: uid, PodIPs: []string{"10.1.0.5"}})
			v.observe(podKey(name), events.ImagePulled, events.Pulled{UID: uid, Container: mainContainer, Image: "web:1", AlreadyPresent: true})
			v.observe(podKey(name), events.ContainerStarted, startedFact(uid, 0))
		}
	}
	return v.world, len(v.log)
}

// BenchmarkSnapshot writes, reads and hashes a World; each figure is of the events
// that it stands for.
func BenchmarkSnapshot(b *testing.B) {
	w, recorded := roster(b)
	raw := encoded(b, w)
	report := func(b *testing.B) {
		b.Helper()
		b.ReportMetric(float64(b.N)*float64(recorded)/b.Elapsed().Seconds(), "events/s")
		b.ReportMetric(float64(len(raw))/float64(recorded), "bytes/event")
	}
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			if err := w.Encode(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		report(b)
	})
	for name, both := range map[string]projections.Both{"decode in turn": projections.InTurn, "decode at once": func(x, y func()) {
		var other sync.WaitGroup
		other.Go(y)
		x()
		other.Wait()
	}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := projections.Decode(bytes.NewReader(raw), both); err != nil {
					b.Fatal(err)
				}
			}
			report(b)
		})
	}
	b.Run("hash", func(b *testing.B) {
		for b.Loop() {
			hashOf(b, w)
		}
		report(b)
	})
}
