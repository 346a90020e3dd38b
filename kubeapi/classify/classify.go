// Package classify names the intent of a request: which event says best what
// the difference between two states of an object means. It is one pure
// function, [Change.Type], so that the same difference always has the same name.
package classify

import (
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"periplus.dev/events"
)

// RestartedAt is the annotation that kubectl rollout restart sets on a pod template.
const RestartedAt = "kubectl.kubernetes.io/restartedAt"

// Change is what a request does to one object. None of it is modified.
type Change struct {
	Kind        string         // singular, lower case: "deployment"
	Subresource string         // of the request: "status", "binding", …; empty for the object itself
	Old         runtime.Object // nil if the object is made
	New         runtime.Object // nil if the object is gone
	// Revisions are the pod templates of the deployment's replica sets; only
	// used to tell a roll-back from another change of the template.
	Revisions []corev1.PodTemplateSpec
}

// Type is the type of the event that records the change. Both objects must be
// of the Go type that belongs to Kind.
func (c Change) Type() events.Type {
	fact := func(f string) events.Type { return events.TypeOf(c.Kind, f) }
	switch {
	case c.New == nil:
		return fact(events.FactDeleted)
	case c.Old == nil:
		return fact(events.FactCreated)
	case c.Subresource == "status":
		return fact(events.FactStatusReported)
	case deletionAsked(c.Old, c.New):
		return fact(events.FactDeletionRequested)
	}
	switch now := c.New.(type) {
	case *appsv1.Deployment:
		if old, ok := c.Old.(*appsv1.Deployment); ok {
			return deployment(&old.Spec, &now.Spec, c.Revisions)
		}
	case *appsv1.ReplicaSet:
		if old, ok := c.Old.(*appsv1.ReplicaSet); ok {
			return replicaSet(&old.Spec, &now.Spec)
		}
	case *corev1.Pod:
		if old, ok := c.Old.(*corev1.Pod); ok && old.Spec.NodeName == "" && now.Spec.NodeName != "" {
			return events.PodBound
		}
	case *corev1.Node:
		if old, ok := c.Old.(*corev1.Node); ok {
			return node(&old.Spec, &now.Spec)
		}
	}
	return fact(generic(c.Old, c.New))
}

// deletionAsked reports whether the object is to go from now on, or sooner than
// it was.
func deletionAsked(old, now runtime.Object) bool {
	o, errOld := meta.Accessor(old)
	n, errNew := meta.Accessor(now)
	if errOld != nil || errNew != nil || n.GetDeletionTimestamp() == nil {
		return false
	}
	return !equality.Semantic.DeepEqual(o.GetDeletionTimestamp(), n.GetDeletionTimestamp()) ||
		!equality.Semantic.DeepEqual(o.GetDeletionGracePeriodSeconds(), n.GetDeletionGracePeriodSeconds())
}

// deployment names the weightiest difference: the template before anything
// else, then several things at once, then the one thing.
func deployment(old, now *appsv1.DeploymentSpec, revisions []corev1.PodTemplateSpec) events.Type {
	if !same(old.Template, now.Template) {
		switch {
		case onlyRestarted(&old.Template, &now.Template):
			return events.DeploymentRestarted
		case slices.ContainsFunc(revisions, func(t corev1.PodTemplateSpec) bool { return same(withoutHash(t), now.Template) }):
			return events.DeploymentRolledBack
		default:
			return events.DeploymentTemplateChanged
		}
	}
	rest := *now
	rest.Replicas = old.Replicas
	scaled := !same(old.Replicas, now.Replicas)
	rest.Paused = old.Paused
	switch {
	case !same(*old, rest), scaled && now.Paused != old.Paused:
		return events.TypeOf("deployment", events.FactSpecChanged)
	case scaled:
		return events.DeploymentScaled
	case now.Paused && !old.Paused:
		return events.DeploymentPaused
	case old.Paused && !now.Paused:
		return events.DeploymentResumed
	default:
		return events.TypeOf("deployment", events.FactMetadataChanged)
	}
}

func onlyRestarted(old, now *corev1.PodTemplateSpec) bool {
	if old.Annotations[RestartedAt] == now.Annotations[RestartedAt] {
		return false
	}
	strip := func(t *corev1.PodTemplateSpec) corev1.PodTemplateSpec {
		out := *t
		out.Annotations = maps.Clone(t.Annotations)
		delete(out.Annotations, RestartedAt)
		return out
	}
	return same(strip(old), strip(now))
}

// withoutHash is a replica set's template as its deployment had it.
func withoutHash(t corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	t.Labels = maps.Clone(t.Labels)
	delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return t
}

func replicaSet(old, now *appsv1.ReplicaSetSpec) events.Type {
	rest := *now
	rest.Replicas = old.Replicas
	switch {
	case !same(old.Template, now.Template):
		return events.ReplicaSetTemplateChanged
	case !same(*old, rest):
		return events.TypeOf("replicaset", events.FactSpecChanged)
	case !same(old.Replicas, now.Replicas):
		return events.ReplicaSetScaled
	default:
		return events.TypeOf("replicaset", events.FactMetadataChanged)
	}
}

func node(old, now *corev1.NodeSpec) events.Type {
	rest := *now
	rest.Unschedulable, rest.Taints = old.Unschedulable, old.Taints
	tainted := !same(old.Taints, now.Taints)
	cordon := old.Unschedulable != now.Unschedulable
	switch {
	case !same(*old, rest), tainted && cordon:
		return events.TypeOf("node", events.FactSpecChanged)
	case tainted:
		return events.NodeTainted
	case cordon && now.Unschedulable:
		return events.NodeCordoned
	case cordon:
		return events.NodeUncordoned
	default:
		return events.TypeOf("node", events.FactMetadataChanged)
	}
}

// generic tells spec, other content and metadata apart by the fields of the Go
// type: the first that differs in this order names the fact.
func generic(old, now runtime.Object) string {
	o, n := structOf(old), structOf(now)
	if !o.IsValid() || !n.IsValid() || o.Type() != n.Type() {
		return events.FactSpecChanged
	}
	fact := events.FactMetadataChanged
	for i := range n.NumField() {
		f := n.Type().Field(i)
		switch {
		case f.Type == reflect.TypeFor[metav1.TypeMeta](), f.Type == reflect.TypeFor[metav1.ObjectMeta](), f.Name == "Status":
		case same(o.Field(i).Interface(), n.Field(i).Interface()):
		case f.Name == "Spec":
			return events.FactSpecChanged
		default:
			fact = events.FactDataChanged
		}
	}
	return fact
}

func structOf(obj runtime.Object) reflect.Value {
	v := reflect.Indirect(reflect.ValueOf(obj))
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v
}

func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
