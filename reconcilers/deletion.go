package reconcilers

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Grace is how many seconds an object that is to go may take: for a pod that
// stands on a node and has not finished its terminationGracePeriodSeconds, for
// anything else nothing.
func Grace(o *projections.Object) int64 {
	pod, ok := o.Value().(*corev1.Pod)
	if !ok || o.NodeName() == "" || projections.PodFinished(o) {
		return 0
	}
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return max(*s, 0)
	}
	return corev1.DefaultTerminationGracePeriodSeconds
}

// GoesAtOnce reports whether nothing holds an object that is to go: no finalizer
// and no node that has to stop it first.
func GoesAtOnce(o *projections.Object) bool {
	return len(o.Meta().GetFinalizers()) == 0 && Grace(o) == 0
}

// Doomed returns an object's value marked as to go, with finalizers added.
func Doomed(o *projections.Object, now time.Time, finalizers ...string) runtime.Object {
	v, m := Copy(o)
	grace := Grace(o)
	when := Timestamp(now.Add(time.Duration(grace) * time.Second))
	m.SetDeletionTimestamp(&when)
	m.SetDeletionGracePeriodSeconds(&grace)
	m.SetFinalizers(append(m.GetFinalizers(), finalizers...))
	if m.GetGeneration() > 0 {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	return v
}

// NamespaceGoes reports whether a namespace is being deleted, so that nothing
// new may be made in it.
func NamespaceGoes(w *projections.World, name string) bool {
	o, ok := w.Get(events.Key{Resource: projections.Namespaces, Name: name})
	return ok && o.Deleting()
}
