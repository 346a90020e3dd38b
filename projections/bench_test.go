package projections_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
