package scheme

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// addEvents serves the same events as events.k8s.io/v1, a renaming of core/v1.
func addEvents(s *runtime.Scheme) error {
	hub := schema.GroupVersion{Group: eventsv1.GroupName, Version: runtime.APIVersionInternal}
	s.AddKnownTypeWithName(hub.WithKind("Event"), &corev1.Event{})
	s.AddKnownTypeWithName(hub.WithKind("EventList"), &corev1.EventList{})
	for _, err := range []error{
		convert(s, toEventsV1), convert(s, fromEventsV1),
		convert(s, func(in *corev1.EventList, out *eventsv1.EventList) {
			out.ListMeta = in.ListMeta
			out.Items = make([]eventsv1.Event, len(in.Items))
			for i := range in.Items {
				toEventsV1(&in.Items[i], &out.Items[i])
			}
		}),
		convert(s, func(in *eventsv1.EventList, out *corev1.EventList) {
			out.ListMeta = in.ListMeta
			out.Items = make([]corev1.Event, len(in.Items))
			for i := range in.Items {
				fromEventsV1(&in.Items[i], &out.Items[i])
			}
		}),
		s.AddFieldLabelConversionFunc(eventsv1.SchemeGroupVersion.WithKind("Event"), eventField),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func convert[A, B any](s *runtime.Scheme, fn func(*A, *B)) error {
	return s.AddConversionFunc((*A)(nil), (*B)(nil), func(a, b any, _ conversion.Scope) error {
		in, okIn := a.(*A)
		out, okOut := b.(*B)
		if !okIn || !okOut {
			return fmt.Errorf("convert %T to %T: unexpected types", a, b)
		}
		fn(in, out)
		return nil
	})
}

func toEventsV1(in *corev1.Event, out *eventsv1.Event) {
	*out = eventsv1.Event{
		ObjectMeta: in.ObjectMeta, EventTime: in.EventTime, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		Action: in.Action, Reason: in.Reason, Regarding: in.InvolvedObject, Related: in.Related, Note: in.Message, Type: in.Type,
		DeprecatedSource: in.Source, DeprecatedFirstTimestamp: in.FirstTimestamp, DeprecatedLastTimestamp: in.LastTimestamp, DeprecatedCount: in.Count,
	}
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

func fromEventsV1(in *eventsv1.Event, out *corev1.Event) {
	*out = corev1.Event{
		ObjectMeta: in.ObjectMeta, EventTime: in.EventTime, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		Action: in.Action, Reason: in.Reason, InvolvedObject: in.Regarding, Related: in.Related, Message: in.Note, Type: in.Type,
		Source: in.DeprecatedSource, FirstTimestamp: in.DeprecatedFirstTimestamp, LastTimestamp: in.DeprecatedLastTimestamp, Count: in.DeprecatedCount,
	}
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

// eventField names a field of events.k8s.io/v1 as core/v1 does.
func eventField(label, value string) (string, string, error) {
	switch {
	case label == "metadata.name", label == "metadata.namespace", label == "reason", label == "type":
		return label, value, nil
	case label == "reportingController":
		return "reportingComponent", value, nil
	case strings.HasPrefix(label, "regarding."):
		return "involvedObject." + strings.TrimPrefix(label, "regarding."), value, nil
	}
	return "", "", fmt.Errorf("field label not supported: %s", label)
}
