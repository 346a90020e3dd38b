package kinds

import (
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// What each kind can be selected by; the names are those that package scheme
// lets through.

func plainAttrs(namespaced bool) storage.AttrFunc {
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, nil, err
		}
		set := fields.Set{"metadata.name": m.GetName()}
		if namespaced {
			set["metadata.namespace"] = m.GetNamespace()
		}
		return m.GetLabels(), set, nil
	}
}

func attrs[P runtime.Object](namespaced bool, add func(P, fields.Set)) storage.AttrFunc {
	plain := plainAttrs(namespaced)
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		l, f, err := plain(obj)
		if o, ok := obj.(P); ok && err == nil {
			add(o, f)
		}
		return l, f, err
	}
}

func podAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(true, func(p *corev1.Pod, f fields.Set) {
		f["spec.nodeName"] = p.Spec.NodeName
		f["spec.restartPolicy"] = string(p.Spec.RestartPolicy)
		f["spec.schedulerName"] = p.Spec.SchedulerName
		f["spec.serviceAccountName"] = p.Spec.ServiceAccountName
		f["spec.hostNetwork"] = strconv.FormatBool(p.Spec.HostNetwork)
		f["status.phase"] = string(p.Status.Phase)
		f["status.podIP"], f["status.podIPs"] = p.Status.PodIP, p.Status.PodIP
		f["status.nominatedNodeName"] = p.Status.NominatedNodeName
	})(obj)
}

func nodeAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(false, func(n *corev1.Node, f fields.Set) {
		f["spec.unschedulable"] = strconv.FormatBool(n.Spec.Unschedulable)
	})(obj)
}

func namespaceAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(false, func(n *corev1.Namespace, f fields.Set) { f["status.phase"] = string(n.Status.Phase) })(obj)
}

func secretAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(true, func(s *corev1.Secret, f fields.Set) { f["type"] = string(s.Type) })(obj)
}

func replicaSetAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(true, func(r *appsv1.ReplicaSet, f fields.Set) { f["status.replicas"] = strconv.Itoa(int(r.Status.Replicas)) })(obj)
}

func eventAttrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	return attrs(true, func(e *corev1.Event, f fields.Set) {
		about := e.InvolvedObject
		f["involvedObject.kind"] = about.Kind
		f["involvedObject.namespace"] = about.Namespace
		f["involvedObject.name"] = about.Name
		f["involvedObject.uid"] = string(about.UID)
		f["involvedObject.apiVersion"] = about.APIVersion
		f["involvedObject.resourceVersion"] = about.ResourceVersion
		f["involvedObject.fieldPath"] = about.FieldPath
		f["reason"], f["type"] = e.Reason, e.Type
		f["reportingComponent"], f["source"] = e.ReportingController, e.Source.Component
		if e.Source.Component == "" {
			f["source"] = e.ReportingController
		}
	})(obj)
}
