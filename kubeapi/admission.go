package kubeapi

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// admit refuses what does not fit the rest of the cluster: objects in a
// namespace that is not there or is going, pods of a service account that is not
// there, and the deletion of the namespaces that always exist.
type admit struct{ world Projection }

var _ admission.ValidationInterface = (*admit)(nil)

// Handles implements admission.Interface.
func (a *admit) Handles(o admission.Operation) bool {
	return o == admission.Create || o == admission.Delete
}

// Validate implements admission.ValidationInterface.
func (a *admit) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	if attrs.GetSubresource() != "" {
		return nil
	}
	if attrs.GetOperation() == admission.Delete {
		return undeletable(attrs)
	}
	if attrs.GetNamespace() == "" || attrs.GetKind().Kind == "Namespace" {
		return nil
	}
	if err := a.namespace(attrs); err != nil {
		return err
	}
	if pod, ok := attrs.GetObject().(*corev1.Pod); ok {
		return a.serviceAccount(attrs, pod)
	}
	return nil
}

func undeletable(attrs admission.Attributes) error {
	if attrs.GetKind().Kind != "Namespace" {
		return nil
	}
	switch attrs.GetName() {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(), errors.New("this namespace may not be deleted"))
	}
	return nil
}

func (a *admit) namespace(attrs admission.Attributes) error {
	name := attrs.GetNamespace()
	ns, ok := a.world.Current().Get(events.Key{Resource: projections.Namespaces, Name: name})
	if !ok {
		return apierrors.NewNotFound(corev1.Resource("namespaces"), name)
	}
	if !ns.Deleting() {
		return nil
	}
	err := apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", name))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", name), Field: "metadata.namespace",
	})
	return err
}

// serviceAccount lets the account "default" through: it is made together with
// its namespace and may come a moment later.
func (a *admit) serviceAccount(attrs admission.Attributes, pod *corev1.Pod) error {
	name := pod.Spec.ServiceAccountName
	if name == "" || name == "default" {
		return nil
	}
	if _, ok := a.world.Current().Get(events.Key{Resource: projections.ServiceAccounts, Namespace: attrs.GetNamespace(), Name: name}); ok {
		return nil
	}
	return apierrors.NewForbidden(attrs.GetResource().GroupResource(), attrs.GetName(),
		fmt.Errorf("error looking up service account %s/%s: serviceaccount %q not found", attrs.GetNamespace(), name, name))
}
