package validation

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Pod checks a pod's spec.
func Pod(p *corev1.Pod) field.ErrorList {
	errs := podSpec(&p.Spec, specPath)
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create"))
	}
	return errs
}

func podSpec(s *corev1.PodSpec, p *field.Path) field.ErrorList {
	volumes, errs := volumeList(s.Volumes, p.Child("volumes"))
	var names unique
	if len(s.Containers) == 0 {
		errs = append(errs, field.Required(p.Child("containers"), ""))
	}
	errs = append(errs, containers(s.Containers, false, volumes, &names, p.Child("containers"))...)
	errs = append(errs, containers(s.InitContainers, true, volumes, &names, p.Child("initContainers"))...)
	errs = append(errs, hostPorts(s, p)...)
	errs = append(errs, podPolicies(s, p)...)
	errs = append(errs, podNames(s, p)...)
	errs = append(errs, metav1validation.ValidateLabels(s.NodeSelector, p.Child("nodeSelector"))...)
	errs = append(errs, tolerations(s.Tolerations, p.Child("tolerations"))...)
	errs = append(errs, affinity(s.Affinity, p.Child("affinity"))...)
	if c := s.SecurityContext; c != nil {
		errs = append(errs, ids(c.RunAsUser, c.RunAsGroup, p.Child("securityContext"))...)
	}
	for i, alias := range s.HostAliases {
		errs = append(errs, validation.IsValidIP(p.Child("hostAliases").Index(i).Child("ip"), alias.IP)...)
	}
	if d := s.ActiveDeadlineSeconds; d != nil {
		errs = append(errs, between(*d, 1, math.MaxInt32, p.Child("activeDeadlineSeconds"))...)
	}
	return errs
}

func podPolicies(s *corev1.PodSpec, p *field.Path) field.ErrorList {
	errs := oneOf(s.RestartPolicy, p.Child("restartPolicy"), corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	errs = append(errs, oneOf(s.DNSPolicy, p.Child("dnsPolicy"), corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	if s.DNSPolicy == corev1.DNSNone && (s.DNSConfig == nil || len(s.DNSConfig.Nameservers) == 0) {
		errs = append(errs, field.Required(p.Child("dnsConfig", "nameservers"), "must provide at least one DNS nameserver when `dnsPolicy` is None"))
	}
	if s.PreemptionPolicy != nil {
		errs = append(errs, oneOf(*s.PreemptionPolicy, p.Child("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

func podNames(s *corev1.PodSpec, p *field.Path) field.ErrorList {
	errs := optional(s.ServiceAccountName, p.Child("serviceAccountName"), subdomain)
	errs = append(errs, optional(s.NodeName, p.Child("nodeName"), subdomain)...)
	errs = append(errs, optional(s.Hostname, p.Child("hostname"), label)...)
	errs = append(errs, optional(s.Subdomain, p.Child("subdomain"), label)...)
	errs = append(errs, optional(s.PriorityClassName, p.Child("priorityClassName"), subdomain)...)
	if s.RuntimeClassName != nil {
		errs = append(errs, named(*s.RuntimeClassName, p.Child("runtimeClassName"), subdomain)...)
	}
	return errs
}

// hostPorts finds ports of the host that are asked for twice.
func hostPorts(s *corev1.PodSpec, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	var taken unique
	for i := range s.Containers {
		for j := range s.Containers[i].Ports {
			port := &s.Containers[i].Ports[j]
			pp := p.Child("containers").Index(i).Child("ports").Index(j)
			if port.HostPort == 0 {
				continue
			}
			errs = append(errs, taken.check(hostPort(port), pp.Child("hostPort"))...)
			if s.HostNetwork && port.HostPort != port.ContainerPort {
				errs = append(errs, field.Invalid(pp.Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

func affinity(a *corev1.Affinity, p *field.Path) field.ErrorList {
	if a == nil || a.NodeAffinity == nil {
		return nil
	}
	var errs field.ErrorList
	p = p.Child("nodeAffinity")
	if r := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; r != nil {
		tp := p.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
		if len(r.NodeSelectorTerms) == 0 {
			errs = append(errs, field.Required(tp, "must have at least one node selector term"))
		}
		for i, t := range r.NodeSelectorTerms {
			errs = append(errs, nodeTerm(t, tp.Index(i))...)
		}
	}
	for i, t := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		tp := p.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i)
		if t.Weight <= 0 || t.Weight > 100 {
			errs = append(errs, field.Invalid(tp.Child("weight"), t.Weight, "must be in the range 1-100"))
		}
		errs = append(errs, nodeTerm(t.Preference, tp.Child("preference"))...)
	}
	return errs
}

func nodeTerm(t corev1.NodeSelectorTerm, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, r := range t.MatchExpressions {
		rp := p.Child("matchExpressions").Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(r.Key, rp.Child("key"))...)
		switch r.Operator {
		case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(rp.Child("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
			}
		case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Forbidden(rp.Child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
			}
		case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
			if len(r.Values) != 1 {
				errs = append(errs, field.Required(rp.Child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'"))
			}
		default:
			errs = append(errs, field.Invalid(rp.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return errs
}

const podFields = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

// PodUpdate checks a change of a pod: only images, the deadline, more
// tolerations and a negative grace period may change.
func PodUpdate(p, old *corev1.Pod) field.ErrorList {
	if len(p.Spec.Containers) != len(old.Spec.Containers) {
		return field.ErrorList{field.Forbidden(specPath.Child("containers"), "pod updates may not add or remove containers")}
	}
	if len(p.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return field.ErrorList{field.Forbidden(specPath.Child("initContainers"), "pod updates may not add or remove containers")}
	}
	errs := podSpec(&p.Spec, specPath)
	errs = append(errs, deadlineUpdate(p.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)...)
	tp := specPath.Child("tolerations")
	for _, t := range old.Spec.Tolerations {
		if !slices.ContainsFunc(p.Spec.Tolerations, func(n corev1.Toleration) bool { return sameButSeconds(&n, &t) }) {
			errs = append(errs, field.Forbidden(tp, "existing toleration can not be modified except its tolerationSeconds"))
		}
	}
	if !equality.Semantic.DeepEqual(fixed(&p.Spec, &old.Spec), &old.Spec) {
		errs = append(errs, field.Forbidden(specPath, podFields))
	}
	return errs
}

func sameButSeconds(a, b *corev1.Toleration) bool {
	return a.Key == b.Key && a.Operator == b.Operator && a.Value == b.Value && a.Effect == b.Effect
}

func deadlineUpdate(now, old *int64) field.ErrorList {
	p := specPath.Child("activeDeadlineSeconds")
	switch {
	case old == nil || now != nil && *now <= *old:
		return nil
	case now == nil:
		return field.ErrorList{field.Invalid(p, now, "must not update from a positive integer to nil value")}
	default:
		return field.ErrorList{field.Invalid(p, *now, "must be less than or equal to previous value")}
	}
}

// fixed is the new spec with the fields that may change set back.
func fixed(s, old *corev1.PodSpec) *corev1.PodSpec {
	out := s.DeepCopy()
	for i := range out.Containers {
		out.Containers[i].Image = old.Containers[i].Image
	}
	for i := range out.InitContainers {
		out.InitContainers[i].Image = old.InitContainers[i].Image
	}
	out.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	out.Tolerations = old.Tolerations
	if before, after := old.TerminationGracePeriodSeconds, s.TerminationGracePeriodSeconds; before != nil && *before < 0 && after != nil && *after == 1 {
		out.TerminationGracePeriodSeconds = before
	}
	return out
}

// volumeList checks a pod's volumes and returns their names.
func volumeList(list []corev1.Volume, p *field.Path) (sets.Set[string], field.ErrorList) {
	names := sets.New[string]()
	var errs field.ErrorList
	var twice unique
	for i := range list {
		v, vp := &list[i], p.Index(i)
		errs = append(errs, named(v.Name, vp.Child("name"), label)...)
		errs = append(errs, twice.check(v.Name, vp.Child("name"))...)
		errs = append(errs, volume(v, vp)...)
		names.Insert(v.Name)
	}
	return names, errs
}
