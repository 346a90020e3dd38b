package reconcilers_test

import (
	"regexp"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
	"periplus.dev/reconcilers/reconcilertest"
)

func TestUIDOf(t *testing.T) {
	a := reconcilers.UIDOf("a", "b")
	if a != reconcilers.UIDOf("a", "b") || a == reconcilers.UIDOf("ab") || a == reconcilers.UIDOf("a", "b", "") {
		t.Error("not a function of its parts alone")
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(string(a)) {
		t.Errorf("%s is no UUID of version 8", a)
	}
}

func TestSelector(t *testing.T) {
	for name, s := range map[string]*metav1.LabelSelector{
		"missing": nil,
		"empty":   {},
		"wrong":   {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Nonsense"}}},
	} {
		if _, ok := reconcilers.Selector(s); ok || reconcilers.SelectsOwn(s, map[string]string{"a": "b"}) {
			t.Errorf("a selector that is %s selects", name)
		}
	}
	s := &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	if !reconcilers.SelectsOwn(s, map[string]string{"a": "b", "c": "d"}) || reconcilers.SelectsOwn(s, map[string]string{"a": "c"}) {
		t.Error("a good selector does not select what it says")
	}
}

func TestDoomed(t *testing.T) {
	five := int64(5)
	pod := func(node string, grace *int64) *corev1.Pod {
		return &corev1.Pod{Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: grace, Containers: []corev1.Container{{Name: "c"}},
		}}
	}
	for name, test := range map[string]struct {
		pod    *corev1.Pod
		reject bool
		want   int64
	}{
		"says how long":       {pod: pod("n1", &five), want: 5},
		"does not say":        {pod: pod("n1", nil), want: 30},
		"stands nowhere":      {pod: pod("", &five), want: 0},
		"failed":              {pod: pod("n1", &five), reject: true, want: 0},
		"wants to go at once": {pod: pod("n1", new(int64)), want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New()
			k := events.Key{Resource: "pods", Namespace: "shop", Name: "p"}
			o := c.Create(k, test.pod)
			if test.reject {
				c.Reject(o)
				o = c.Object(k)
			}
			if got := reconcilers.Grace(o); got != test.want || reconcilers.GoesAtOnce(o) != (test.want == 0) {
				t.Errorf("grace %d, want %d; goes at once: %v", got, test.want, reconcilers.GoesAtOnce(o))
			}
			next := reconcilers.Doomed(o, c.Now(), "x/y").(*corev1.Pod)
			if *next.DeletionGracePeriodSeconds != test.want || next.Generation != 2 || len(next.Finalizers) != 1 ||
				!next.DeletionTimestamp.Time.Equal(c.Now().Add(time.Duration(test.want)*time.Second)) {
				t.Errorf("%+v", next.ObjectMeta)
			}
			if before := projections.As[*corev1.Pod](o); before.DeletionTimestamp != nil || before.Generation != 1 {
				t.Error("the object itself was changed")
			}
		})
	}
}

func TestNamespaceGoes(t *testing.T) {
	c := reconcilertest.New()
	k := events.Key{Resource: "namespaces", Name: "shop"}
	if reconcilers.NamespaceGoes(c.World(), "shop") {
		t.Error("one that is not there goes")
	}
	c.Create(k, &corev1.Namespace{})
	if reconcilers.NamespaceGoes(c.World(), "shop") {
		t.Error("one that stays goes")
	}
	c.RequestDeletion(k)
	if !reconcilers.NamespaceGoes(c.World(), "shop") {
		t.Error("one that goes stays")
	}
}
