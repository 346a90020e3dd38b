// Package defaults fills the fields that a client left out, as Kubernetes does,
// so that an object reads the same here and there.
//
// There are two moments. [Register] sets up what happens whenever an object is
// decoded, which includes patches and server-side apply. [AdmitPod] does what
// Kubernetes leaves to admission: it happens once, when a pod is created.
//
// Every function is idempotent and touches only fields that are empty.
package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Register adds the defaulting functions of all served kinds to a scheme.
func Register(s *runtime.Scheme) {
	register(s, Pod)
	register(s, Deployment)
	register(s, ReplicaSet)
	register(s, Secret)
	register(s, Namespace)
	register(s, Node)
}

func register[T any, P interface {
	*T
	runtime.Object
}](s *runtime.Scheme, fn func(P)) {
	s.AddTypeDefaultingFunc(P(new(T)), func(obj any) {
		if p, ok := obj.(P); ok {
			fn(p)
		}
	})
}

// Deployment fills a deployment and its pod template.
func Deployment(d *appsv1.Deployment) {
	s := &d.Spec
	set(&s.Replicas, 1)
	if s.Strategy.Type == "" {
		s.Strategy.Type = appsv1.RollingUpdateDeploymentStrategyType
	}
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		set(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		set(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		set(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	set(&s.RevisionHistoryLimit, 10)
	set(&s.ProgressDeadlineSeconds, 600)
	PodSpec(&s.Template.Spec)
}

// ReplicaSet fills a replica set and its pod template.
func ReplicaSet(r *appsv1.ReplicaSet) {
	set(&r.Spec.Replicas, 1)
	PodSpec(&r.Spec.Template.Spec)
}

// Secret fills a secret and moves what was written as text to where it is kept.
func Secret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

// Namespace labels a namespace with its name and gives it its first phase.
func Namespace(n *corev1.Namespace) {
	if n.Name != "" {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
	if n.Status.Phase == "" {
		n.Status.Phase = corev1.NamespaceActive
	}
}

// Node fills a node's status.
func Node(n *corev1.Node) {
	if n.Status.Allocatable == nil && n.Status.Capacity != nil {
		n.Status.Allocatable = n.Status.Capacity.DeepCopy()
	}
}

// set makes a pointer point at a value, unless it points at one.
func set[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
