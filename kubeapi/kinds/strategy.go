package kinds

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"periplus.dev/kubeapi/validation"
)

// strategy is how the registry creates and updates objects of one kind.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	kind *Kind
}

var (
	_ rest.RESTCreateStrategy         = strategy{}
	_ rest.RESTUpdateStrategy         = strategy{}
	_ rest.RESTDeleteStrategy         = strategy{}
	_ rest.ResetFieldsStrategy        = strategy{}
	_ rest.RESTGracefulDeleteStrategy = podStrategy{}
)

// NamespaceScoped implements rest.RESTCreateStrategy.
func (s strategy) NamespaceScoped() bool { return s.kind.Namespaced }

// PrepareForCreate implements rest.RESTCreateStrategy.
func (s strategy) PrepareForCreate(_ context.Context, obj runtime.Object) {
	if s.kind.rules.create != nil {
		s.kind.rules.create(obj)
	}
	if s.kind.rules.spec != nil {
		accessor(obj).SetGeneration(1)
	}
}

// Validate implements rest.RESTCreateStrategy.
func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return append(validation.Meta(accessor(obj), s.kind.Namespaced, s.kind.rules.name), s.kind.rules.check(obj)...)
}

// WarningsOnCreate implements rest.RESTCreateStrategy.
func (strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return validation.Warnings(obj)
}

// Canonicalize implements rest.RESTCreateStrategy. A namespace whose name was
// generated gets the label with its name here.
func (strategy) Canonicalize(obj runtime.Object) {
	if n, ok := obj.(*corev1.Namespace); ok && n.Name != "" {
		metav1.SetMetaDataLabel(&n.ObjectMeta, corev1.LabelMetadataName, n.Name)
	}
}

// AllowCreateOnUpdate implements rest.RESTUpdateStrategy.
func (s strategy) AllowCreateOnUpdate(context.Context) bool { return s.kind.rules.createByUpdate }

// AllowUnconditionalUpdate implements rest.RESTUpdateStrategy.
func (s strategy) AllowUnconditionalUpdate(context.Context) bool { return !s.kind.rules.insist }

// PrepareForUpdate implements rest.RESTUpdateStrategy: an update of the object
// leaves its status alone.
func (s strategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	r := s.kind.rules
	if r.status != nil {
		r.status(obj, old)
	}
	if r.update != nil {
		r.update(obj, old)
	}
	if r.spec != nil && !equality.Semantic.DeepEqual(r.spec(obj), r.spec(old)) {
		accessor(obj).SetGeneration(accessor(old).GetGeneration() + 1)
	}
}

// ValidateUpdate implements rest.RESTUpdateStrategy.
func (s strategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	errs := validation.MetaUpdate(accessor(obj), accessor(old))
	if s.kind.rules.checkUpdate != nil {
		return append(errs, s.kind.rules.checkUpdate(obj, old)...)
	}
	return append(errs, s.kind.rules.check(obj)...)
}

// WarningsOnUpdate implements rest.RESTUpdateStrategy: it warns of what the
// update brings.
func (strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	before := validation.Warnings(old)
	return slices.DeleteFunc(validation.Warnings(obj), func(w string) bool { return slices.Contains(before, w) })
}

// GetResetFields implements rest.ResetFieldsStrategy: who applies an object does
// not own its status.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	if s.kind.rules.status == nil {
		return nil
	}
	return s.reset("status")
}

func (s strategy) reset(fields ...any) map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, f := range fields {
		set.Insert(fieldpath.MakePathOrDie(f))
	}
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.kind.GVK.GroupVersion().String()): set}
}

func accessor(obj runtime.Object) metav1.Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		panic(err) // every kind has metadata
	}
	return m
}

// statusStrategy updates only the status.
type statusStrategy struct{ strategy }

// PrepareForUpdate leaves everything but the status as it was.
func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	status := obj.DeepCopyObject()
	rv := accessor(obj).GetResourceVersion()
	replace(obj, old.DeepCopyObject())
	s.kind.rules.status(obj, status)
	accessor(obj).SetResourceVersion(rv)
}

// ValidateUpdate checks that it is the same object; statuses are taken as they are.
func (s statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return validation.MetaUpdate(accessor(obj), accessor(old))
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.reset("spec", "metadata")
}

// finalizeStrategy updates only the finalizers in a namespace's spec.
type finalizeStrategy struct{ strategy }

// PrepareForUpdate leaves the status as it was.
func (s finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	s.kind.rules.status(obj, old)
}

// podStrategy deletes pods gracefully.
type podStrategy struct{ strategy }

// CheckGracefulDelete implements rest.RESTGracefulDeleteStrategy: a pod that is
// on no node, or done, goes at once; any other when its node has stopped it.
func (podStrategy) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	pod, ok := obj.(*corev1.Pod)
	if options == nil || !ok {
		return false
	}
	var period int64
	switch {
	case options.GracePeriodSeconds != nil:
		period = *options.GracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		period = *pod.Spec.TerminationGracePeriodSeconds
	}
	done := []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded}
	if pod.Spec.NodeName == "" || slices.Contains(done, pod.Status.Phase) {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	options.GracePeriodSeconds = &period
	return true
}
