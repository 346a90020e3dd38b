package kinds

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"periplus.dev/kubeapi/validation"
)

// scaled is a workload as its scale sees it.
type scaled struct {
	meta     *metav1.ObjectMeta
	replicas **int32
	status   int32
	selector *metav1.LabelSelector
}

func deploymentScale(obj runtime.Object) (scaled, bool) {
	d, ok := obj.(*appsv1.Deployment)
	if !ok {
		return scaled{}, false
	}
	return scaled{meta: &d.ObjectMeta, replicas: &d.Spec.Replicas, status: d.Status.Replicas, selector: d.Spec.Selector}, true
}

func replicaSetScale(obj runtime.Object) (scaled, bool) {
	r, ok := obj.(*appsv1.ReplicaSet)
	if !ok {
		return scaled{}, false
	}
	return scaled{meta: &r.ObjectMeta, replicas: &r.Spec.Replicas, status: r.Status.Replicas, selector: r.Spec.Selector}, true
}

// scaleREST is the scale of a kind of workload.
type scaleREST struct {
	store *registry.Store
	of    func(runtime.Object) (scaled, bool)
}

var (
	_ rest.Patcher                  = (*scaleREST)(nil)
	_ rest.GroupVersionKindProvider = (*scaleREST)(nil)
)

// New implements rest.Storage.
func (r *scaleREST) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy implements rest.Storage.
func (r *scaleREST) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (r *scaleREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// Get implements rest.Getter.
func (r *scaleREST) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := r.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return r.scale(obj)
}

// Update implements rest.Updater: it updates the workload.
func (r *scaleREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc,
	validate rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := r.store.Update(ctx, name, &scaleInfo{UpdatedObjectInfo: info, rest: r, validate: validate, name: name},
		nil, rest.ValidateAllObjectUpdateFunc, false, o)
	if err != nil {
		return nil, false, err
	}
	out, err := r.scale(obj)
	return out, false, err
}

// ConvertToTable implements rest.TableConvertor.
func (r *scaleREST) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return rest.NewDefaultTableConvertor(autoscalingv1.Resource("scales")).ConvertToTable(ctx, obj, o)
}

func (r *scaleREST) scale(obj runtime.Object) (*autoscalingv1.Scale, error) {
	w, ok := r.of(obj)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("%T has no scale", obj))
	}
	selector, err := metav1.LabelSelectorAsSelector(w.selector)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("selector of %s: %w", w.meta.Name, err))
	}
	s := &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: w.meta.Name, Namespace: w.meta.Namespace, UID: w.meta.UID, ResourceVersion: w.meta.ResourceVersion, CreationTimestamp: w.meta.CreationTimestamp,
		},
		Status: autoscalingv1.ScaleStatus{Replicas: w.status, Selector: selector.String()},
	}
	if *w.replicas != nil {
		s.Spec.Replicas = **w.replicas
	}
	return s, nil
}

// scaleInfo turns an updated scale into an updated workload.
type scaleInfo struct {
	rest.UpdatedObjectInfo
	rest     *scaleREST
	validate rest.ValidateObjectUpdateFunc
	name     string
}

// UpdatedObject implements rest.UpdatedObjectInfo.
func (i *scaleInfo) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	before, err := i.rest.scale(old)
	if err != nil {
		return nil, err
	}
	obj, err := i.UpdatedObjectInfo.UpdatedObject(ctx, before.DeepCopy())
	if err != nil {
		return nil, err
	}
	after, ok := obj.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, have %T", obj))
	}
	if errs := validation.Scale(after); len(errs) > 0 {
		return nil, apierrors.NewInvalid(autoscalingv1.SchemeGroupVersion.WithKind("Scale").GroupKind(), i.name, errs)
	}
	if i.validate != nil {
		if err := i.validate(ctx, after, before); err != nil {
			return nil, err
		}
	}
	next := old.DeepCopyObject()
	w, _ := i.rest.of(next)
	w.meta.ResourceVersion = after.ResourceVersion
	if after.UID != "" {
		w.meta.UID = after.UID
	}
	n := after.Spec.Replicas
	*w.replicas = &n
	return next, nil
}
