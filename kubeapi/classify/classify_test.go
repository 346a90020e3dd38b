package classify

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"periplus.dev/events"
)

func parse[T any, P interface {
	*T
	runtime.Object
}](t *testing.T, text string) runtime.Object {
	t.Helper()
	out := P(new(T))
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestType(t *testing.T) {
	deploy := func(s string) runtime.Object { return parse[appsv1.Deployment](t, s) }
	set := func(s string) runtime.Object { return parse[appsv1.ReplicaSet](t, s) }
	nod := func(s string) runtime.Object { return parse[corev1.Node](t, s) }
	pod := func(s string) runtime.Object { return parse[corev1.Pod](t, s) }
	cm := func(s string) runtime.Object { return parse[corev1.ConfigMap](t, s) }
	const base = "{metadata: {name: x}, spec: {replicas: 1, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: v2}]}}}}"
	v1 := corev1.PodTemplateSpec{}
	v1.Labels = map[string]string{"a": "b", appsv1.DefaultDeploymentUniqueLabelKey: "77"}
	v1.Spec.Containers = []corev1.Container{{Name: "c", Image: "v1"}}
	for _, tc := range []struct {
		kind, sub string
		old, now  runtime.Object
		want      string
	}{
		{"deployment", "", nil, deploy(base), "deployment.created"},
		{"deployment", "", deploy(base), nil, "deployment.deleted"},
		{"deployment", "", deploy(base), deploy(base), "deployment.metadata-changed"},
		{"deployment", "status", deploy(base), deploy(base), "deployment.status-reported"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "name: x", "name: x, labels: {q: r}", 1)), "deployment.metadata-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "replicas: 1", "replicas: 2", 1)), "deployment.scaled"},
		{"deployment", "scale", deploy(base), deploy(strings.Replace(base, "replicas: 1", "replicas: 0", 1)), "deployment.scaled"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "replicas: 1", "replicas: 2, paused: true", 1)), "deployment.spec-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "replicas: 1", "replicas: 1, paused: true", 1)), "deployment.paused"},
		{"deployment", "", deploy(strings.Replace(base, "replicas: 1", "replicas: 1, paused: true", 1)), deploy(base), "deployment.resumed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "replicas: 1", "replicas: 1, minReadySeconds: 4", 1)), "deployment.spec-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "v2", "v3", 1)), "deployment.template-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(strings.Replace(base, "v2", "v3", 1), "replicas: 1", "replicas: 9", 1)), "deployment.template-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "v2", "v1", 1)), "deployment.rolled-back"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "metadata: {labels", "metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now}, labels", 1)), "deployment.restarted"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "metadata: {labels", "metadata: {annotations: {kubectl.kubernetes.io/restartedAt: now, z: z}, labels", 1)), "deployment.template-changed"},
		{"deployment", "", deploy(base), deploy(strings.Replace(base, "name: x", "name: x, deletionTimestamp: 2026-01-01T00:00:00Z, finalizers: [foregroundDeletion]", 1)), "deployment.deletion-requested"},
		{"deployment", "", deploy(strings.Replace(base, "name: x", "name: x, deletionTimestamp: 2026-01-01T00:00:00Z", 1)), deploy(strings.Replace(base, "name: x", "name: x, deletionTimestamp: 2026-01-01T00:00:00Z, finalizers: [a/b]", 1)), "deployment.metadata-changed"},
		{"replicaset", "", set(base), set(strings.Replace(base, "replicas: 1", "replicas: 2", 1)), "replicaset.scaled"},
		{"replicaset", "", set(base), set(strings.Replace(base, "v2", "v3", 1)), "replicaset.template-changed"},
		{"replicaset", "", set(base), set(strings.Replace(base, "replicas: 1", "replicas: 2, minReadySeconds: 4", 1)), "replicaset.spec-changed"},
		{"replicaset", "", set(base), set(strings.Replace(base, "name: x", "name: x, labels: {q: r}", 1)), "replicaset.metadata-changed"},
		{"pod", "binding", pod("{}"), pod("{spec: {nodeName: n1}}"), "pod.bound"},
		{"pod", "", pod("{}"), pod("{spec: {activeDeadlineSeconds: 3}}"), "pod.spec-changed"},
		{"pod", "", pod("{}"), pod("{metadata: {labels: {a: b}}}"), "pod.metadata-changed"},
		{"pod", "", pod("{metadata: {deletionTimestamp: 2026-01-01T00:00:00Z, deletionGracePeriodSeconds: 30}}"), pod("{metadata: {deletionTimestamp: 2026-01-01T00:00:00Z, deletionGracePeriodSeconds: 0}}"), "pod.deletion-requested"},
		{"node", "", nod("{}"), nod("{spec: {unschedulable: true}}"), "node.cordoned"},
		{"node", "", nod("{spec: {unschedulable: true}}"), nod("{}"), "node.uncordoned"},
		{"node", "", nod("{}"), nod("{spec: {taints: [{key: a, effect: NoSchedule}]}}"), "node.taints-changed"},
		{"node", "", nod("{}"), nod("{spec: {unschedulable: true, taints: [{key: a, effect: NoSchedule}]}}"), "node.spec-changed"},
		{"node", "", nod("{}"), nod("{spec: {podCIDR: 10.0.0.0/24}}"), "node.spec-changed"},
		{"configmap", "", cm("{data: {a: b}}"), cm("{data: {a: c}}"), "configmap.data-changed"},
		{"configmap", "", cm("{data: {a: b}}"), cm("{data: {a: b}, metadata: {labels: {a: b}}}"), "configmap.metadata-changed"},
		{"secret", "", parse[corev1.Secret](t, "{}"), parse[corev1.Secret](t, "{data: {a: aGk=}}"), "secret.data-changed"},
		{"serviceaccount", "", parse[corev1.ServiceAccount](t, "{}"), parse[corev1.ServiceAccount](t, "{automountServiceAccountToken: false}"), "serviceaccount.data-changed"},
		{"lease", "", parse[coordinationv1.Lease](t, "{}"), parse[coordinationv1.Lease](t, "{spec: {holderIdentity: a}}"), "lease.spec-changed"},
		{"namespace", "finalize", parse[corev1.Namespace](t, "{spec: {finalizers: [kubernetes]}}"), parse[corev1.Namespace](t, "{}"), "namespace.spec-changed"},
		{"event", "", parse[corev1.Event](t, "{metadata: {name: a}, involvedObject: {}}"), parse[corev1.Event](t, "{metadata: {name: a}, involvedObject: {}, count: 2}"), "event.data-changed"},
	} {
		c := Change{Kind: tc.kind, Subresource: tc.sub, Old: tc.old, New: tc.now, Revisions: []corev1.PodTemplateSpec{v1}}
		if got := c.Type().Short(); got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}

// Whatever changes, the type is known, the door may append it, it is about the
// kind, and swapping nothing for nothing is never a change of the spec.
func TestEveryChangeHasAName(t *testing.T) {
	template := rapid.Custom(func(t *rapid.T) corev1.PodTemplateSpec {
		var p corev1.PodTemplateSpec
		p.Annotations = rapid.MapOfN(rapid.SampledFrom([]string{RestartedAt, "a"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2).Draw(t, "annotations")
		p.Spec.Containers = []corev1.Container{{Name: "c", Image: rapid.SampledFrom([]string{"v1", "v2", "v3"}).Draw(t, "image")}}
		return p
	})
	draw := rapid.Custom(func(t *rapid.T) *appsv1.Deployment {
		d := &appsv1.Deployment{}
		d.Labels = rapid.MapOfN(rapid.SampledFrom([]string{"a", "b"}), rapid.SampledFrom([]string{"1", "2"}), 0, 2).Draw(t, "labels")
		if rapid.Bool().Draw(t, "deleting") {
			d.DeletionTimestamp = &metav1.Time{}
		}
		n := rapid.Int32Range(0, 2).Draw(t, "replicas")
		d.Spec.Replicas, d.Spec.Paused, d.Spec.Template = &n, rapid.Bool().Draw(t, "paused"), template.Draw(t, "template")
		return d
	})
	rapid.Check(t, func(t *rapid.T) {
		old, now := draw.Draw(t, "old"), draw.Draw(t, "new")
		c := Change{Kind: "deployment", Old: old, New: now, Revisions: rapid.SliceOfN(template, 0, 3).Draw(t, "revisions"),
			Subresource: rapid.SampledFrom([]string{"", "status", "scale"}).Draw(t, "subresource")}
		before := []*appsv1.Deployment{old.DeepCopy(), now.DeepCopy()}
		got := c.Type()
		spec, ok := events.Lookup(got)
		if !ok || spec.Owner != events.OwnerDoor || got.Kind() != "deployment" || spec.Terminal {
			t.Fatalf("type %s, spec %+v, known %v", got, spec, ok)
		}
		if (spec.Half == events.Actual) != (c.Subresource == "status") {
			t.Fatalf("type %s for subresource %q", got, c.Subresource)
		}
		if c.Subresource == "" && same(old.Spec, now.Spec) && same(old.DeletionTimestamp, now.DeletionTimestamp) && got.Fact() != events.FactMetadataChanged {
			t.Fatalf("the spec is the same, but the type is %s", got)
		}
		if got == events.DeploymentScaled && !same(old.Spec.Template, now.Spec.Template) {
			t.Fatal("a change of the template is called scaled")
		}
		if !same(before[0], old) || !same(before[1], now) || got != c.Type() {
			t.Fatal("it is not a pure function")
		}
	})
}
