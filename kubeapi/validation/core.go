package validation

import (
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ConfigMap checks the keys of a config map and its size.
func ConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var errs field.ErrorList
	size := 0
	for key, value := range c.Data {
		p := field.NewPath("data").Key(key)
		errs = append(errs, each(validation.IsConfigMapKey(key), p, key)...)
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(p, key, "duplicate of key present in binaryData"))
		}
		size += len(value)
	}
	for key, value := range c.BinaryData {
		errs = append(errs, each(validation.IsConfigMapKey(key), field.NewPath("binaryData").Key(key), key)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return errs
}

// ConfigMapUpdate checks a change of a config map.
func ConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	errs := frozen(c.Immutable, old.Immutable)
	if isTrue(old.Immutable) {
		if !equality.Semantic.DeepEqual(c.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), immutableSet))
		}
		if !equality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
			errs = append(errs, field.Forbidden(field.NewPath("binaryData"), immutableSet))
		}
	}
	return append(errs, ConfigMap(c)...)
}

// requiredKeys are the data keys that a type of secret must have.
func requiredKeys(t corev1.SecretType) []string {
	switch t {
	case corev1.SecretTypeDockercfg:
		return []string{corev1.DockerConfigKey}
	case corev1.SecretTypeDockerConfigJson:
		return []string{corev1.DockerConfigJsonKey}
	case corev1.SecretTypeSSHAuth:
		return []string{corev1.SSHAuthPrivateKey}
	case corev1.SecretTypeTLS:
		return []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey}
	default:
		return nil
	}
}

// Secret checks the keys of a secret, its size, and what its type asks for.
func Secret(s *corev1.Secret) field.ErrorList {
	var errs field.ErrorList
	data := field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		errs = append(errs, each(validation.IsConfigMapKey(key), data.Key(key), key)...)
		size += len(value)
	}
	if size > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	for _, key := range requiredKeys(s.Type) {
		if _, ok := s.Data[key]; !ok {
			errs = append(errs, field.Required(data.Key(key), ""))
		}
	}
	_, user := s.Data[corev1.BasicAuthUsernameKey]
	_, password := s.Data[corev1.BasicAuthPasswordKey]
	if s.Type == corev1.SecretTypeBasicAuth && !user && !password {
		errs = append(errs, field.Required(data.Key(corev1.BasicAuthUsernameKey), ""), field.Required(data.Key(corev1.BasicAuthPasswordKey), ""))
	}
	if s.Type == corev1.SecretTypeServiceAccountToken && s.Annotations[corev1.ServiceAccountNameKey] == "" {
		errs = append(errs, field.Required(metadataPath.Child("annotations").Key(corev1.ServiceAccountNameKey), ""))
	}
	return errs
}

// SecretUpdate checks a change of a secret.
func SecretUpdate(s, old *corev1.Secret) field.ErrorList {
	errs := apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))
	errs = append(errs, frozen(s.Immutable, old.Immutable)...)
	if isTrue(old.Immutable) && !equality.Semantic.DeepEqual(s.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), immutableSet))
	}
	return append(errs, Secret(s)...)
}

func frozen(now, old *bool) field.ErrorList {
	if isTrue(old) && !isTrue(now) {
		return field.ErrorList{field.Forbidden(field.NewPath("immutable"), immutableSet)}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// Namespace checks the finalizers in a namespace's spec.
func Namespace(n *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for i, f := range n.Spec.Finalizers {
		p := specPath.Child("finalizers").Index(i)
		errs = append(errs, each(validation.IsQualifiedName(string(f)), p, string(f))...)
	}
	return errs
}

// Node checks a node's taints and address range.
func Node(n *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	var twice unique
	for i, t := range n.Spec.Taints {
		p := specPath.Child("taints").Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, p.Child("key"))...)
		errs = append(errs, each(validation.IsValidLabelValue(t.Value), p.Child("value"), t.Value)...)
		errs = append(errs, oneOf(t.Effect, p.Child("effect"), taintEffects()...)...)
		errs = append(errs, twice.check(t.Key+":"+string(t.Effect), p)...)
	}
	for i, cidr := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDR(specPath.Child("podCIDRs").Index(i), cidr)...)
	}
	return errs
}

func taintEffects() []corev1.TaintEffect {
	return []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
}

// NodeUpdate checks a change of a node: its address range and provider stay
// once they are set.
func NodeUpdate(n, old *corev1.Node) field.ErrorList {
	errs := Node(n)
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(n.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(specPath.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && n.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(specPath.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

// Event checks that an event stands in the namespace of what it is about.
func Event(e *corev1.Event) field.ErrorList {
	ns := e.InvolvedObject.Namespace
	switch {
	case ns == "" && e.Namespace != corev1.NamespaceDefault && e.Namespace != "kube-system",
		ns != "" && ns != e.Namespace:
		return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), ns, "does not match event.namespace")}
	}
	return nil
}

// Lease checks a lease's spec.
func Lease(l *coordinationv1.Lease) field.ErrorList {
	var errs field.ErrorList
	if d := l.Spec.LeaseDurationSeconds; d != nil && *d <= 0 {
		errs = append(errs, field.Invalid(specPath.Child("leaseDurationSeconds"), *d, "must be greater than 0"))
	}
	if n := l.Spec.LeaseTransitions; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(specPath.Child("leaseTransitions"), *n, "must be greater than or equal to 0"))
	}
	return errs
}

// Binding checks what a pod is to be bound to.
func Binding(b *corev1.Binding) field.ErrorList {
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		return field.ErrorList{field.NotSupported(field.NewPath("target", "kind"), b.Target.Kind, []string{"Node", "<empty>"})}
	}
	return named(b.Target.Name, field.NewPath("target", "name"), subdomain)
}

func tolerations(list []corev1.Toleration, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		errs = append(errs, toleration(&list[i], p.Index(i))...)
	}
	return errs
}

func toleration(t *corev1.Toleration, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = append(errs, metav1validation.ValidateLabelName(t.Key, p.Child("key"))...)
	} else if t.Operator != corev1.TolerationOpExists {
		errs = append(errs, field.Invalid(p.Child("operator"), t.Operator,
			"operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
	}
	if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
		errs = append(errs, field.Invalid(p.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
	}
	switch t.Operator {
	case corev1.TolerationOpEqual, "":
		errs = append(errs, each(validation.IsValidLabelValue(t.Value), p.Child("operator"), t.Value)...)
	case corev1.TolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(p.Child("operator"), t, "value must be empty when `operator` is 'Exists'"))
		}
	default:
		errs = append(errs, oneOf(t.Operator, p.Child("operator"), corev1.TolerationOpEqual, corev1.TolerationOpExists)...)
	}
	if t.Effect != "" {
		errs = append(errs, oneOf(t.Effect, p.Child("effect"), taintEffects()...)...)
	}
	return errs
}

// hostPort describes a port of the host for error messages.
func hostPort(port *corev1.ContainerPort) string {
	return fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
}
