package validation

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Deployment checks a deployment's spec.
func Deployment(d *appsv1.Deployment) field.ErrorList {
	s, p := &d.Spec, specPath
	errs := replicas(s.Replicas, p)
	errs = append(errs, selectorAndTemplate(s.Selector, &s.Template, p)...)
	errs = append(errs, strategy(&s.Strategy, p.Child("strategy"))...)
	errs = append(errs, nonNegative(int64(s.MinReadySeconds), p.Child("minReadySeconds"))...)
	if s.RevisionHistoryLimit != nil {
		errs = append(errs, nonNegative(int64(*s.RevisionHistoryLimit), p.Child("revisionHistoryLimit"))...)
	}
	if limit := s.ProgressDeadlineSeconds; limit != nil {
		errs = append(errs, nonNegative(int64(*limit), p.Child("progressDeadlineSeconds"))...)
		if *limit <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(p.Child("progressDeadlineSeconds"), *limit, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

// DeploymentUpdate checks a change of a deployment.
func DeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	errs := Deployment(d)
	return append(errs, apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, specPath.Child("selector"))...)
}

// ReplicaSet checks a replica set's spec.
func ReplicaSet(r *appsv1.ReplicaSet) field.ErrorList {
	errs := replicas(r.Spec.Replicas, specPath)
	errs = append(errs, nonNegative(int64(r.Spec.MinReadySeconds), specPath.Child("minReadySeconds"))...)
	return append(errs, selectorAndTemplate(r.Spec.Selector, &r.Spec.Template, specPath)...)
}

// ReplicaSetUpdate checks a change of a replica set.
func ReplicaSetUpdate(r, old *appsv1.ReplicaSet) field.ErrorList {
	errs := ReplicaSet(r)
	return append(errs, apivalidation.ValidateImmutableField(r.Spec.Selector, old.Spec.Selector, specPath.Child("selector"))...)
}

// Scale checks a scale.
func Scale(s *autoscalingv1.Scale) field.ErrorList {
	return nonNegative(int64(s.Spec.Replicas), specPath.Child("replicas"))
}

func replicas(n *int32, p *field.Path) field.ErrorList {
	if n == nil {
		return field.ErrorList{field.Required(p.Child("replicas"), "")}
	}
	return nonNegative(int64(*n), p.Child("replicas"))
}

func selectorAndTemplate(selector *metav1.LabelSelector, template *corev1.PodTemplateSpec, p *field.Path) field.ErrorList {
	sp := p.Child("selector")
	mismatch := field.Invalid(p.Child("template", "metadata", "labels"), template.Labels, "`selector` does not match template `labels`")
	if selector == nil { // it matches nothing
		return append(field.ErrorList{field.Required(sp, ""), mismatch}, podTemplate(template, p.Child("template"))...)
	}
	errs := metav1validation.ValidateLabelSelector(selector, metav1validation.LabelSelectorValidationOptions{}, sp)
	if len(selector.MatchLabels)+len(selector.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(sp, selector, "empty selector is invalid for deployment"))
	}
	match, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return append(errs, field.Invalid(sp, selector, "invalid label selector"))
	}
	if !match.Empty() && !match.Matches(labels.Set(template.Labels)) {
		errs = append(errs, mismatch)
	}
	return append(errs, podTemplate(template, p.Child("template"))...)
}

func podTemplate(t *corev1.PodTemplateSpec, p *field.Path) field.ErrorList {
	errs := metav1validation.ValidateLabels(t.Labels, p.Child("metadata", "labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(t.Annotations, p.Child("metadata", "annotations"))...)
	errs = append(errs, podSpec(&t.Spec, p.Child("spec"))...)
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways && t.Spec.RestartPolicy != "" {
		errs = append(errs, field.NotSupported(p.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(p.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	if len(t.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

func strategy(s *appsv1.DeploymentStrategy, p *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(p.Child("rollingUpdate"), fmt.Sprintf("may not be specified when strategy `type` is '%s'", s.Type))}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(p.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return rollingUpdate(s.RollingUpdate, p.Child("rollingUpdate"))
	default:
		return oneOf(s.Type, p.Child("type"), appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
	}
}

func rollingUpdate(r *appsv1.RollingUpdateDeployment, p *field.Path) field.ErrorList {
	unavailable, surge := p.Child("maxUnavailable"), p.Child("maxSurge")
	errs := countOrPercent(r.MaxUnavailable, unavailable)
	errs = append(errs, countOrPercent(r.MaxSurge, surge)...)
	if len(errs) > 0 {
		return errs
	}
	if amount(r.MaxUnavailable) == 0 && amount(r.MaxSurge) == 0 {
		errs = append(errs, field.Invalid(unavailable, r.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if r.MaxUnavailable.Type == intstr.String && amount(r.MaxUnavailable) > 100 {
		errs = append(errs, field.Invalid(unavailable, r.MaxUnavailable, "must not be greater than 100%"))
	}
	return errs
}

func countOrPercent(v *intstr.IntOrString, p *field.Path) field.ErrorList {
	switch {
	case v == nil:
		return field.ErrorList{field.Required(p, "")}
	case v.Type == intstr.String:
		return each(validation.IsValidPercent(v.StrVal), p, v)
	default:
		return nonNegative(int64(v.IntVal), p)
	}
}

// amount is the number in a valid count or percentage.
func amount(v *intstr.IntOrString) int {
	if v.Type == intstr.Int {
		return int(v.IntVal)
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, 100, true)
	if err != nil {
		return 0 // it was checked before
	}
	return n
}
