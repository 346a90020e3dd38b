package projections

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"periplus.dev/events"
)

// Tables of the kinds that folds and reconcilers know by name.
const (
	Pods            = "pods"
	Nodes           = "nodes"
	Namespaces      = "namespaces"
	ConfigMaps      = "configmaps"
	Secrets         = "secrets"
	ServiceAccounts = "serviceaccounts"
	KubeEvents      = "events"
	ReplicaSets     = "replicasets.apps"
	Deployments     = "deployments.apps"
	Leases          = "leases.coordination.k8s.io"
	Clusters        = "clusters.periplus.dev"
)

// kind is how a table's objects look.
type kind struct {
	gvk   schema.GroupVersionKind
	empty func() runtime.Object
}

func core(k string, empty func() runtime.Object) kind {
	return kind{corev1.SchemeGroupVersion.WithKind(k), empty}
}

// kindOf is the table of kinds kept in Go types. Any other is unstructured.
func kindOf(table string) (kind, bool) {
	switch table {
	case Pods:
		return core("Pod", func() runtime.Object { return &corev1.Pod{} }), true
	case Nodes:
		return core("Node", func() runtime.Object { return &corev1.Node{} }), true
	case Namespaces:
		return core("Namespace", func() runtime.Object { return &corev1.Namespace{} }), true
	case ConfigMaps:
		return core("ConfigMap", func() runtime.Object { return &corev1.ConfigMap{} }), true
	case Secrets:
		return core("Secret", func() runtime.Object { return &corev1.Secret{} }), true
	case ServiceAccounts:
		return core("ServiceAccount", func() runtime.Object { return &corev1.ServiceAccount{} }), true
	case KubeEvents:
		return core("Event", func() runtime.Object { return &corev1.Event{} }), true
	case ReplicaSets:
		return kind{appsv1.SchemeGroupVersion.WithKind("ReplicaSet"), func() runtime.Object { return &appsv1.ReplicaSet{} }}, true
	case Deployments:
		return kind{appsv1.SchemeGroupVersion.WithKind("Deployment"), func() runtime.Object { return &appsv1.Deployment{} }}, true
	case Leases:
		return kind{coordinationv1.SchemeGroupVersion.WithKind("Lease"), func() runtime.Object { return &coordinationv1.Lease{} }}, true
	default:
		return kind{}, false
	}
}

// KindOf is the Kubernetes kind of a key's object, such as "Pod"; empty if the
// kind is only known from the object itself.
func KindOf(k events.Key) string {
	kd, _ := kindOf(k.GroupResource())
	return kd.gvk.Kind
}

// TypeOf is the event type of a fact that any kind can have, for an object.
func TypeOf(o *Object, fact string) events.Type {
	return events.TypeOf(strings.ToLower(o.Kind()), fact)
}

func newValue(table string) runtime.Object {
	if k, ok := kindOf(table); ok {
		return k.empty()
	}
	return &unstructured.Unstructured{}
}
