package kinds

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"periplus.dev/events"
	"periplus.dev/projections"
)

func TestKindsFitTheirTables(t *testing.T) {
	for _, k := range All() {
		key := events.Key{Group: k.GVK.Group, Resource: k.Resource}
		if got := projections.KindOf(key); got != k.GVK.Kind {
			t.Errorf("%s is %q in the World, %q at the door", k.GroupResource(), got, k.GVK.Kind)
		}
		if k.Singular != strings.ToLower(k.GVK.Kind) {
			t.Errorf("events of %s would be called %s", k.GVK.Kind, k.Singular)
		}
		if _, ok := events.Lookup(events.TypeOf(k.Singular, events.FactCreated)); !ok {
			t.Errorf("%s cannot be created", k.Singular)
		}
		if _, _, err := k.attrs(k.New()); err != nil {
			t.Errorf("%s cannot be selected: %v", k.Singular, err)
		}
	}
}

func TestContainerOf(t *testing.T) {
	pod := &corev1.Pod{}
	if err := yaml.Unmarshal([]byte("metadata: {name: p}\nspec: {containers: [{name: a}, {name: b}], initContainers: [{name: i}], ephemeralContainers: [{name: e}]}"), pod); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"b": "", "i": "", "e": "", "x": "container x is not valid for pod p",
		"": "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i] or one of the ephemeral containers: [e]",
	} {
		got, err := containerOf(pod, name)
		if want == "" && (err != nil || got != name) || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	pod.Annotations = map[string]string{defaultContainerAnnotation: "b"}
	if got, err := containerOf(pod, ""); err != nil || got != "b" {
		t.Errorf("by annotation: %q, %v", got, err)
	}
	pod.Spec.Containers = pod.Spec.Containers[:1]
	if got, err := containerOf(pod, ""); err != nil || got != "a" {
		t.Errorf("the only one: %q, %v", got, err)
	}
}

func TestGracePeriods(t *testing.T) {
	thirty, five, minus := int64(30), int64(5), int64(-1)
	for _, tc := range []struct {
		name, node string
		phase      corev1.PodPhase
		asked      *int64
		want       int64
	}{
		{"running", "n1", corev1.PodRunning, nil, 30},
		{"asked for", "n1", corev1.PodRunning, &five, 5},
		{"negative", "n1", corev1.PodRunning, &minus, 1},
		{"on no node", "", corev1.PodPending, &five, 0},
		{"done", "n1", corev1.PodSucceeded, nil, 0},
	} {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeName: tc.node, TerminationGracePeriodSeconds: &thirty}, Status: corev1.PodStatus{Phase: tc.phase}}
		o := &metav1.DeleteOptions{GracePeriodSeconds: tc.asked}
		if !(podStrategy{}).CheckGracefulDelete(t.Context(), p, o) || *o.GracePeriodSeconds != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, *o.GracePeriodSeconds, tc.want)
		}
	}
}

func TestHowACommandEnded(t *testing.T) {
	if s := statusOf(nil); s.Status != metav1.StatusSuccess {
		t.Errorf("done: %+v", s)
	}
	if s := statusOf(exitError(7)); s.Reason != "NonZeroExitCode" || s.Details.Causes[0].Message != "7" {
		t.Errorf("exit code: %+v", s)
	}
	if s := statusOf(errors.New("no such file")); s.Reason != metav1.StatusReasonInternalError || !strings.Contains(s.Message, "no such file") {
		t.Errorf("other error: %+v", s)
	}
	if s := statusOf(apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x")); s.Code != 404 {
		t.Errorf("API error: %+v", s)
	}
}
