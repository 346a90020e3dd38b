package tables

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func event(e *corev1.Event, now time.Time) []any {
	object := e.InvolvedObject.Name
	if e.InvolvedObject.Kind != "" {
		object = strings.ToLower(e.InvolvedObject.Kind) + "/" + object
	}
	first, last := since(e.FirstTimestamp, now), since(e.LastTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = since(metav1.Time{Time: e.EventTime.Time}, now)
	}
	count := int64(e.Count)
	switch {
	case e.Series != nil:
		last = since(metav1.Time{Time: e.Series.LastObservedTime.Time}, now)
		count = int64(e.Series.Count)
	case e.LastTimestamp.IsZero():
		last = first
	}
	if count == 0 {
		count = 1
	}
	return []any{
		interval(first, last, count), e.Type, e.Reason, object, e.InvolvedObject.FieldPath, sourceOf(e),
		strings.TrimSpace(e.Message), first, count, e.Name,
	}
}

// interval says how long ago an event was, and for how often since when.
func interval(first, last string, count int64) string {
	if count > 1 {
		return fmt.Sprintf("%s (x%d over %s)", last, count, first)
	}
	return last
}

func sourceOf(e *corev1.Event) string {
	component, host := e.Source.Component, e.Source.Host
	if component == "" {
		component = e.ReportingController
	}
	if host == "" {
		host = e.ReportingInstance
	}
	if host == "" {
		return component
	}
	return component + ", " + host
}
