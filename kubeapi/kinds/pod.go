package kinds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"periplus.dev/kubeapi/validation"
)

// PodRef names a pod.
type PodRef struct{ Namespace, Name, UID string }

// TerminalSize is the size of a client's terminal in characters.
type TerminalSize struct{ Width, Height uint16 }

// NodeBackend reaches the agent of a node. Errors that are Kubernetes API errors
// are answered as they are.
type NodeBackend interface {
	// Logs reads what a container has printed; the caller closes it. With
	// o.Follow it goes on until the container ends or ctx does.
	Logs(ctx context.Context, node string, pod PodRef, o *corev1.PodLogOptions) (io.ReadCloser, error)
	// Exec runs a command in a running container and returns its exit code when
	// it has ended. Streams that were not asked for are nil. With tty all output
	// goes to stdout, and resize tells the size of the client's window; it is
	// nil or closed when no more sizes come.
	Exec(ctx context.Context, node string, pod PodRef, container string, command []string,
		stdin io.Reader, stdout, stderr io.Writer, tty bool, resize <-chan TerminalSize) (exitCode int, err error)
}

// podREST is what the requests about a pod's containers and node have in common.
type podREST struct {
	store *registry.Store
	nodes NodeBackend
}

// New implements rest.Storage.
func (r *podREST) New() runtime.Object { return &corev1.Pod{} }

// Destroy implements rest.Storage.
func (r *podREST) Destroy() {}

func (r *podREST) pod(ctx context.Context, name string) (*corev1.Pod, error) {
	obj, err := r.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("pod %s is a %T", name, obj))
	}
	return pod, nil
}

func refOf(p *corev1.Pod) PodRef {
	return PodRef{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)}
}

// defaultContainerAnnotation names the container that kubectl means when none is named.
const defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"

// containerOf is the container a request means: the one it names, or the only one.
func containerOf(p *corev1.Pod, name string) (string, error) {
	names := namesOf(p.Spec.Containers)
	inits := namesOf(p.Spec.InitContainers)
	var ephemeral []string
	for _, c := range p.Spec.EphemeralContainers {
		ephemeral = append(ephemeral, c.Name)
	}
	if name != "" {
		if slices.Contains(slices.Concat(names, inits, ephemeral), name) {
			return name, nil
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, p.Name))
	}
	if len(names) == 1 {
		return names[0], nil
	}
	if byAnnotation := p.Annotations[defaultContainerAnnotation]; slices.Contains(names, byAnnotation) {
		return byAnnotation, nil
	}
	msg := fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", p.Name, strings.Join(names, " "))
	if len(inits) > 0 {
		msg += fmt.Sprintf(" or one of the init containers: [%s]", strings.Join(inits, " "))
	}
	if len(ephemeral) > 0 {
		msg += fmt.Sprintf(" or one of the ephemeral containers: [%s]", strings.Join(ephemeral, " "))
	}
	return "", apierrors.NewBadRequest(msg)
}

func namesOf(list []corev1.Container) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.Name)
	}
	return out
}

// nodeError is the answer to what a node's agent could not do.
func nodeError(err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// logREST streams a container's log.
type logREST struct{ *podREST }

var (
	_ rest.GetterWithOptions = (*logREST)(nil)
	_ rest.StorageMetadata   = (*logREST)(nil)
)

// ProducesMIMETypes implements rest.StorageMetadata.
func (r *logREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject implements rest.StorageMetadata.
func (r *logREST) ProducesObject(string) any { return "" }

// NewGetOptions implements rest.GetterWithOptions.
func (r *logREST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// Get implements rest.GetterWithOptions.
func (r *logREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("log options are a %T", options))
	}
	if errs := logOptions(o); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("PodLogOptions").GroupKind(), name, errs)
	}
	pod, err := r.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	o = o.DeepCopy()
	if o.Container, err = containerOf(pod, o.Container); err != nil {
		return nil, err
	}
	return &logStream{nodes: r.nodes, node: pod.Spec.NodeName, pod: refOf(pod), options: o}, nil
}

func logOptions(o *corev1.PodLogOptions) field.ErrorList {
	var errs field.ErrorList
	if o.TailLines != nil && *o.TailLines < 0 {
		errs = append(errs, field.Invalid(field.NewPath("tailLines"), *o.TailLines, "must be greater than or equal to 0"))
	}
	if o.LimitBytes != nil && *o.LimitBytes < 1 {
		errs = append(errs, field.Invalid(field.NewPath("limitBytes"), *o.LimitBytes, "must be greater than 0"))
	}
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		errs = append(errs, field.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified"))
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		errs = append(errs, field.Invalid(field.NewPath("sinceSeconds"), *o.SinceSeconds, "must be greater than 0"))
	}
	return errs
}

// logStream is the answer to a request for a log.
type logStream struct {
	nodes   NodeBackend
	node    string
	pod     PodRef
	options *corev1.PodLogOptions
}

var _ rest.ResourceStreamer = (*logStream)(nil)

// GetObjectKind implements runtime.Object.
func (*logStream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject implements runtime.Object.
func (s *logStream) DeepCopyObject() runtime.Object { c := *s; return &c }

// InputStream implements rest.ResourceStreamer. A pod that is on no node has
// printed nothing.
func (s *logStream) InputStream(ctx context.Context, _, _ string) (io.ReadCloser, bool, string, error) {
	if s.node == "" {
		return nil, false, "", nil
	}
	r, err := s.nodes.Logs(ctx, s.node, s.pod, s.options)
	if err != nil {
		return nil, false, "", nodeError(err)
	}
	return r, s.options.Follow, "text/plain", nil
}

// bindingREST binds a pod to a node.
type bindingREST struct{ *podREST }

var _ rest.NamedCreater = (*bindingREST)(nil)

// New implements rest.Storage.
func (r *bindingREST) New() runtime.Object { return &corev1.Binding{} }

// Create implements rest.NamedCreater.
func (r *bindingREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	b, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a Binding object: %T", obj))
	}
	if b.Name != "" && b.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Binding object")
	}
	if errs := validation.Binding(b); len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, b); err != nil {
			return nil, err
		}
	}
	c := *r.store
	strategy, ok := r.store.UpdateStrategy.(strategy)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("pods have strategy %T", r.store.UpdateStrategy))
	}
	c.UpdateStrategy = bindStrategy{strategy}
	info := rest.DefaultUpdatedObjectInfo(nil, func(_ context.Context, _, old runtime.Object) (runtime.Object, error) { return bound(b, old) })
	_, _, err := c.Update(ctx, name, info, nil, rest.ValidateAllObjectUpdateFunc, false, &metav1.UpdateOptions{DryRun: o.DryRun})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// bound is a pod after a binding.
func bound(b *corev1.Binding, old runtime.Object) (runtime.Object, error) {
	pod, ok := old.(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("pod %s is a %T", b.Name, old))
	}
	conflict := func(format string, args ...any) error {
		return apierrors.NewConflict(corev1.Resource("pods/binding"), pod.Name, fmt.Errorf(format, args...))
	}
	switch {
	case b.UID != "" && b.UID != pod.UID:
		return nil, conflict("the UID in the precondition (%s) does not match the UID in record (%s)", b.UID, pod.UID)
	case pod.DeletionTimestamp != nil:
		return nil, conflict("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return nil, conflict("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	}
	pod = pod.DeepCopy()
	pod.Spec.NodeName = b.Target.Name
	if len(b.Annotations) > 0 && pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	maps.Copy(pod.Annotations, b.Annotations)
	return pod, nil
}

// bindStrategy lets a pod's node be set, which no other update may do.
type bindStrategy struct{ strategy }

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (bindStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.MetaUpdate(accessor(obj), accessor(old))
}

// evictionREST deletes a pod as kubectl drain asks.
type evictionREST struct{ *podREST }

var (
	_ rest.NamedCreater             = (*evictionREST)(nil)
	_ rest.GroupVersionKindProvider = (*evictionREST)(nil)
)

// New implements rest.Storage.
func (r *evictionREST) New() runtime.Object { return &policyv1.Eviction{} }

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (r *evictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

// Create implements rest.NamedCreater.
func (r *evictionREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, o *metav1.CreateOptions) (runtime.Object, error) {
	e, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not an Eviction object: %T", obj))
	}
	if e.Name != "" && e.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	if validate != nil {
		if err := validate(ctx, e); err != nil {
			return nil, err
		}
	}
	deletion := e.DeleteOptions.DeepCopy()
	if deletion == nil {
		deletion = &metav1.DeleteOptions{}
	}
	deletion.DryRun = append(deletion.DryRun, o.DryRun...)
	if _, _, err := r.store.Delete(ctx, name, rest.ValidateAllObjectFunc, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}
