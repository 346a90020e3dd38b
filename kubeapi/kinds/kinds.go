// Package kinds holds what is particular to each kind that the door serves: its
// names, how it is prepared and checked before it is stored, by what it can be
// selected, and the requests that are more than reading and writing an object
// (scale, binding, eviction, logs, exec, access reviews).
//
// What all kinds have in common is k8s.io/apiserver's registry over
// [periplus.dev/kubeapi/logstore]. Start reading at [All], the table of kinds;
// [Builder.Groups] makes of it what the server installs.
package kinds

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage"

	"periplus.dev/kubeapi/defaults"
	"periplus.dev/kubeapi/validation"
)

// Kind is one kind.
type Kind struct {
	GVK        schema.GroupVersionKind
	Resource   string // plural
	Singular   string
	Short      []string
	All        bool // kubectl get all shows it
	Namespaced bool

	empty     func() runtime.Object
	emptyList func() runtime.Object
	attrs     storage.AttrFunc
	rules     rules
}

// GroupResource names the kind's table.
func (k Kind) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.GVK.Group, Resource: k.Resource}
}

// rules are how objects of a kind are prepared and checked. Only check and name
// are required.
type rules struct {
	name           validation.NameFunc
	create         func(obj runtime.Object)      // prepares a new object
	update         func(obj, old runtime.Object) // keeps what an update of the object may not touch
	status         func(to, from runtime.Object) // copies the status; nil if the kind has none
	spec           func(obj runtime.Object) any  // what metadata.generation counts; nil if it does not
	check          func(obj runtime.Object) field.ErrorList
	checkUpdate    func(obj, old runtime.Object) field.ErrorList // nil: as check
	createByUpdate bool                                          // a PUT may create it
	insist         bool                                          // an update has to name a resourceVersion
}

// All is the table of kinds that are objects in the log.
func All() []Kind {
	core, apps, coordination := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion
	return []Kind{
		{
			GVK: core.WithKind("Namespace"), Resource: "namespaces", Singular: "namespace", Short: []string{"ns"},
			empty: empty[corev1.Namespace], emptyList: empty[corev1.NamespaceList], attrs: namespaceAttrs, rules: namespaceRules(),
		},
		{
			GVK: core.WithKind("Node"), Resource: "nodes", Singular: "node", Short: []string{"no"},
			empty: empty[corev1.Node], emptyList: empty[corev1.NodeList], attrs: nodeAttrs, rules: nodeRules(),
		},
		{
			GVK: core.WithKind("Pod"), Resource: "pods", Singular: "pod", Short: []string{"po"}, All: true, Namespaced: true,
			empty: empty[corev1.Pod], emptyList: empty[corev1.PodList], attrs: podAttrs, rules: podRules(),
		},
		{
			GVK: core.WithKind("ConfigMap"), Resource: "configmaps", Singular: "configmap", Short: []string{"cm"}, Namespaced: true,
			empty: empty[corev1.ConfigMap], emptyList: empty[corev1.ConfigMapList], attrs: plainAttrs(true),
			rules: rules{name: validation.Subdomain, check: one(validation.ConfigMap), checkUpdate: two(validation.ConfigMapUpdate)},
		},
		{
			GVK: core.WithKind("Secret"), Resource: "secrets", Singular: "secret", Namespaced: true,
			empty: empty[corev1.Secret], emptyList: empty[corev1.SecretList], attrs: secretAttrs,
			rules: rules{name: validation.Subdomain, create: do(defaults.Secret), check: one(validation.Secret), checkUpdate: two(validation.SecretUpdate)},
		},
		{
			GVK: core.WithKind("ServiceAccount"), Resource: "serviceaccounts", Singular: "serviceaccount", Short: []string{"sa"}, Namespaced: true,
			empty: empty[corev1.ServiceAccount], emptyList: empty[corev1.ServiceAccountList], attrs: plainAttrs(true),
			rules: rules{name: validation.Subdomain, check: anything},
		},
		{
			GVK: core.WithKind("Event"), Resource: "events", Singular: "event", Short: []string{"ev"}, Namespaced: true,
			empty: empty[corev1.Event], emptyList: empty[corev1.EventList], attrs: eventAttrs,
			rules: rules{name: validation.Subdomain, check: one(validation.Event), createByUpdate: true},
		},
		{
			GVK: apps.WithKind("Deployment"), Resource: "deployments", Singular: "deployment", Short: []string{"deploy"}, All: true, Namespaced: true,
			empty: empty[appsv1.Deployment], emptyList: empty[appsv1.DeploymentList], attrs: plainAttrs(true), rules: deploymentRules(),
		},
		{
			GVK: apps.WithKind("ReplicaSet"), Resource: "replicasets", Singular: "replicaset", Short: []string{"rs"}, All: true, Namespaced: true,
			empty: empty[appsv1.ReplicaSet], emptyList: empty[appsv1.ReplicaSetList], attrs: replicaSetAttrs, rules: replicaSetRules(),
		},
		{
			GVK: coordination.WithKind("Lease"), Resource: "leases", Singular: "lease", Namespaced: true,
			empty: empty[coordinationv1.Lease], emptyList: empty[coordinationv1.LeaseList], attrs: plainAttrs(true),
			rules: rules{name: validation.Subdomain, check: one(validation.Lease), createByUpdate: true, insist: true},
		},
	}
}

func empty[T any, P interface {
	*T
	runtime.Object
}]() runtime.Object {
	return P(new(T))
}

// as is an object as its Go type. The registry never hands a strategy an object
// of another kind.
func as[P runtime.Object](obj runtime.Object) P {
	p, ok := obj.(P)
	if !ok {
		panic(fmt.Sprintf("a strategy was handed a %T", obj))
	}
	return p
}

func anything(runtime.Object) field.ErrorList { return nil }

// one, two, do, both and part fit functions about a Go type to any object.
func one[P runtime.Object](fn func(P) field.ErrorList) func(runtime.Object) field.ErrorList {
	return func(obj runtime.Object) field.ErrorList { return fn(as[P](obj)) }
}

func two[P runtime.Object](fn func(obj, old P) field.ErrorList) func(obj, old runtime.Object) field.ErrorList {
	return func(obj, old runtime.Object) field.ErrorList { return fn(as[P](obj), as[P](old)) }
}

func do[P runtime.Object](fn func(P)) func(runtime.Object) {
	return func(obj runtime.Object) { fn(as[P](obj)) }
}

func both[P runtime.Object](fn func(a, b P)) func(a, b runtime.Object) {
	return func(a, b runtime.Object) { fn(as[P](a), as[P](b)) }
}

func part[P runtime.Object](fn func(P) any) func(runtime.Object) any {
	return func(obj runtime.Object) any { return fn(as[P](obj)) }
}

func deploymentRules() rules {
	return rules{
		name: validation.Subdomain, check: one(validation.Deployment), checkUpdate: two(validation.DeploymentUpdate),
		create: do(func(d *appsv1.Deployment) { d.Status = appsv1.DeploymentStatus{} }),
		status: both(func(to, from *appsv1.Deployment) { to.Status = from.Status }),
		spec:   part(func(d *appsv1.Deployment) any { return d.Spec }),
	}
}

func replicaSetRules() rules {
	return rules{
		name: validation.Subdomain, check: one(validation.ReplicaSet), checkUpdate: two(validation.ReplicaSetUpdate),
		create: do(func(r *appsv1.ReplicaSet) { r.Status = appsv1.ReplicaSetStatus{} }),
		status: both(func(to, from *appsv1.ReplicaSet) { to.Status = from.Status }),
		spec:   part(func(r *appsv1.ReplicaSet) any { return r.Spec }),
	}
}

func nodeRules() rules {
	return rules{
		name: validation.Subdomain, check: one(validation.Node), checkUpdate: two(validation.NodeUpdate),
		status: both(func(to, from *corev1.Node) { to.Status = from.Status }),
	}
}

func podRules() rules {
	return rules{
		name: validation.Subdomain, check: one(validation.Pod), checkUpdate: two(validation.PodUpdate),
		create: do(func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodPending}
			defaults.AdmitPod(p)
			if g := p.Spec.TerminationGracePeriodSeconds; g != nil && *g < 0 {
				*g = 1
			}
		}),
		status: both(func(to, from *corev1.Pod) { to.Status = from.Status }),
		spec:   part(func(p *corev1.Pod) any { return p.Spec }),
	}
}

func namespaceRules() rules {
	return rules{
		name: validation.Label, check: one(validation.Namespace),
		create: do(func(n *corev1.Namespace) {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
				n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
			}
		}),
		update: both(func(n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers }),
		status: both(func(to, from *corev1.Namespace) { to.Status = from.Status }),
	}
}
