package scheme

import (
	"net/url"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func newScheme(t *testing.T) *Scheme {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestQueries(t *testing.T) {
	s := newScheme(t)
	read := func(text string, into runtime.Object) error {
		q, err := url.ParseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.Parameters.DecodeParameters(q, corev1.SchemeGroupVersion, into)
	}
	var exec corev1.PodExecOptions
	if err := read("command=ls&command=-l&stdin=true&stdout=1&stderr=false&tty&container=c", &exec); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(exec, corev1.PodExecOptions{Command: []string{"ls", "-l"}, Stdin: true, Stdout: true, TTY: true, Container: "c"}) {
		t.Errorf("exec options %+v", exec)
	}
	var logs corev1.PodLogOptions
	if err := read("follow=true&tailLines=5&sinceTime=2026-03-01T12:00:00Z", &logs); err != nil {
		t.Fatal(err)
	}
	if !logs.Follow || *logs.TailLines != 5 || !logs.SinceTime.Equal(&metav1.Time{Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}) || logs.LimitBytes != nil {
		t.Errorf("log options %+v", logs)
	}
	for _, bad := range []string{"tailLines=x", "sinceTime=yesterday"} {
		if read(bad, &corev1.PodLogOptions{}) == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestEventsAreTheSameInBothVersions(t *testing.T) {
	s := newScheme(t)
	when := metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	in := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, InvolvedObject: corev1.ObjectReference{Name: "web"}, Reason: "Noted", Message: "by hand",
		Type: "Normal", Count: 3, FirstTimestamp: when, LastTimestamp: when, Source: corev1.EventSource{Component: "c"},
		Series: &corev1.EventSeries{Count: 2}, ReportingController: "r", ReportingInstance: "i", Action: "a",
	}
	mid, back := &eventsv1.Event{}, &corev1.Event{}
	if err := s.Convert(in, mid, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Convert(mid, back, nil); err != nil {
		t.Fatal(err)
	}
	if mid.Note != "by hand" || mid.Regarding.Name != "web" || !reflect.DeepEqual(in, back) {
		t.Errorf("%+v\n%+v\n%+v", in, mid, back)
	}
	label, value, err := s.ConvertFieldLabel(eventsv1.SchemeGroupVersion.WithKind("Event"), "regarding.name", "web")
	if err != nil || label != "involvedObject.name" || value != "web" {
		t.Errorf("%s=%s, %v", label, value, err)
	}
}

func TestFieldsThatCanBeSelected(t *testing.T) {
	s := newScheme(t)
	for kind, fields := range map[string]map[string]bool{
		"Pod":       {"spec.nodeName": true, "metadata.name": true, "spec.foo": false},
		"Secret":    {"type": true, "data": false},
		"ConfigMap": {"metadata.namespace": true, "data": false},
	} {
		for field, want := range fields {
			_, _, err := s.ConvertFieldLabel(corev1.SchemeGroupVersion.WithKind(kind), field, "x")
			if (err == nil) != want {
				t.Errorf("%s %s: %v", kind, field, err)
			}
		}
	}
}

func TestEveryKindDecodesIntoItself(t *testing.T) {
	s := newScheme(t)
	for _, kind := range []string{"Pod", "Node", "Secret", "Event"} {
		raw := []byte(`{"apiVersion":"v1","kind":"` + kind + `","metadata":{"name":"x"}}`)
		obj, err := runtime.Decode(s.Codecs.UniversalDecoder(schema.GroupVersion{Version: runtime.APIVersionInternal}), raw)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if p, ok := obj.(*corev1.Pod); ok && p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
			t.Errorf("%s was not defaulted: %+v", kind, p.Spec)
		}
	}
}
