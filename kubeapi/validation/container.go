package validation

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containers checks the containers of one list of a pod.
func containers(list []corev1.Container, init bool, volumes sets.Set[string], names *unique, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		c, cp := &list[i], p.Index(i)
		errs = append(errs, container(c, volumes, cp)...)
		errs = append(errs, names.check(c.Name, cp.Child("name"))...)
		if init {
			errs = append(errs, initContainer(c, cp)...)
		}
	}
	return errs
}

func initContainer(c *corev1.Container, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil}, {"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil}, {"startupProbe", c.StartupProbe != nil},
	} {
		if f.set && !sidecar {
			errs = append(errs, field.Forbidden(p.Child(f.name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return errs
}

func container(c *corev1.Container, volumes sets.Set[string], p *field.Path) field.ErrorList {
	errs := named(c.Name, p.Child("name"), label)
	switch {
	case c.Image == "":
		errs = append(errs, field.Required(p.Child("image"), ""))
	case c.Image != strings.TrimSpace(c.Image):
		errs = append(errs, field.Invalid(p.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, oneOf(c.ImagePullPolicy, p.Child("imagePullPolicy"), corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	errs = append(errs, oneOf(c.TerminationMessagePolicy, p.Child("terminationMessagePolicy"), corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, ports(c.Ports, p.Child("ports"))...)
	errs = append(errs, env(c.Env, p.Child("env"))...)
	errs = append(errs, envFrom(c.EnvFrom, p.Child("envFrom"))...)
	errs = append(errs, mounts(c.VolumeMounts, volumes, p.Child("volumeMounts"))...)
	errs = append(errs, resources(&c.Resources, p.Child("resources"))...)
	errs = append(errs, probes(c, p)...)
	errs = append(errs, lifecycle(c.Lifecycle, p.Child("lifecycle"))...)
	return append(errs, securityContext(c.SecurityContext, p.Child("securityContext"))...)
}

func ports(list []corev1.ContainerPort, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	var names unique
	for i := range list {
		port, pp := &list[i], p.Index(i)
		if port.Name != "" {
			if msgs := validation.IsValidPortName(port.Name); len(msgs) > 0 {
				errs = append(errs, each(msgs, pp.Child("name"), port.Name)...)
			} else {
				errs = append(errs, names.check(port.Name, pp.Child("name"))...)
			}
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(pp.Child("containerPort"), ""))
		} else {
			errs = append(errs, each(validation.IsValidPortNum(int(port.ContainerPort)), pp.Child("containerPort"), port.ContainerPort)...)
		}
		if port.HostPort != 0 {
			errs = append(errs, each(validation.IsValidPortNum(int(port.HostPort)), pp.Child("hostPort"), port.HostPort)...)
		}
		errs = append(errs, oneOf(port.Protocol, pp.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	return errs
}

func env(list []corev1.EnvVar, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		errs = append(errs, named(list[i].Name, p.Index(i).Child("name"), validation.IsRelaxedEnvVarName)...)
		errs = append(errs, valueFrom(&list[i], p.Index(i).Child("valueFrom"))...)
	}
	return errs
}

func valueFrom(e *corev1.EnvVar, p *field.Path) field.ErrorList {
	from := e.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, envFieldRef(from.FieldRef, p.Child("fieldRef"))...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, named(from.ResourceFieldRef.Resource, p.Child("resourceFieldRef", "resource"), knownResourceField)...)
	}
	if from.ConfigMapKeyRef != nil {
		sources++
		errs = append(errs, named(from.ConfigMapKeyRef.Key, p.Child("configMapKeyRef", "key"), validation.IsConfigMapKey)...)
	}
	if from.SecretKeyRef != nil {
		sources++
		errs = append(errs, named(from.SecretKeyRef.Key, p.Child("secretKeyRef", "key"), validation.IsConfigMapKey)...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(p, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func envFieldRef(f *corev1.ObjectFieldSelector, p *field.Path) field.ErrorList {
	if f.FieldPath == "" {
		return field.ErrorList{field.Required(p.Child("fieldPath"), "")}
	}
	if f.APIVersion != "v1" {
		return field.ErrorList{field.NotSupported(p.Child("apiVersion"), f.APIVersion, []string{"v1"})}
	}
	known := []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
	if slices.Contains(known, f.FieldPath) {
		return nil
	}
	for _, prefix := range []string{"metadata.annotations['", "metadata.labels['"} {
		if strings.HasPrefix(f.FieldPath, prefix) && strings.HasSuffix(f.FieldPath, "']") {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(p.Child("fieldPath"), f.FieldPath, known)}
}

func knownResourceField(name string) []string {
	kind, res, ok := strings.Cut(name, ".")
	if ok && (kind == "limits" || kind == "requests") && (res == "cpu" || res == "memory" || res == "ephemeral-storage" || strings.HasPrefix(res, "hugepages-")) {
		return nil
	}
	return []string{"must be limits or requests of cpu, memory, ephemeral-storage or hugepages-*"}
}

func envFrom(list []corev1.EnvFromSource, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, e := range list {
		ep := p.Index(i)
		errs = append(errs, optional(e.Prefix, ep.Child("prefix"), validation.IsRelaxedEnvVarName)...)
		switch {
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			errs = append(errs, field.Invalid(ep, "", "may not have more than one field specified at a time"))
		case e.ConfigMapRef != nil:
			errs = append(errs, named(e.ConfigMapRef.Name, ep.Child("configMapRef", "name"), subdomain)...)
		case e.SecretRef != nil:
			errs = append(errs, named(e.SecretRef.Name, ep.Child("secretRef", "name"), subdomain)...)
		default:
			errs = append(errs, field.Invalid(ep, "", "must specify one of: `configMapRef` or `secretRef`"))
		}
	}
	return errs
}

func mounts(list []corev1.VolumeMount, volumes sets.Set[string], p *field.Path) field.ErrorList {
	var errs field.ErrorList
	paths := sets.New[string]()
	for i, m := range list {
		mp := p.Index(i)
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(mp.Child("name"), ""))
		case !volumes.Has(m.Name):
			errs = append(errs, field.NotFound(mp.Child("name"), m.Name))
		}
		switch {
		case m.MountPath == "":
			errs = append(errs, field.Required(mp.Child("mountPath"), ""))
		case paths.Has(m.MountPath):
			errs = append(errs, field.Invalid(mp.Child("mountPath"), m.MountPath, "must be unique"))
		}
		paths.Insert(m.MountPath)
		if m.SubPath != "" && m.SubPathExpr != "" {
			errs = append(errs, field.Invalid(mp.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, relative(m.SubPath, mp.Child("subPath"))...)
		errs = append(errs, relative(m.SubPathExpr, mp.Child("subPathExpr"))...)
		if m.MountPropagation != nil {
			errs = append(errs, oneOf(*m.MountPropagation, mp.Child("mountPropagation"),
				corev1.MountPropagationBidirectional, corev1.MountPropagationHostToContainer, corev1.MountPropagationNone)...)
		}
	}
	return errs
}

func resources(r *corev1.ResourceRequirements, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range r.Limits {
		errs = append(errs, quantity(name, q, p.Child("limits").Key(string(name)))...)
	}
	for name, q := range r.Requests {
		rp := p.Child("requests")
		errs = append(errs, quantity(name, q, rp.Key(string(name)))...)
		limit, limited := r.Limits[name]
		if limited && q.Cmp(limit) > 0 {
			errs = append(errs, field.Invalid(rp, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
		if !limited && strings.Contains(string(name), "/") {
			errs = append(errs, field.Required(p.Child("limits"), "Limit must be set for non overcommitable resources"))
		}
	}
	return errs
}

func quantity(name corev1.ResourceName, q resource.Quantity, p *field.Path) field.ErrorList {
	errs := each(validation.IsQualifiedName(string(name)), p, string(name))
	extended := strings.Contains(string(name), "/")
	if !extended && !standardResource(name) {
		errs = append(errs, field.Invalid(p, string(name), "must be a standard resource for containers"))
	}
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(p, q.String(), "must be greater than or equal to 0"))
	}
	if extended && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(p, q.String(), "must be an integer"))
	}
	return errs
}

func standardResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

func probes(c *corev1.Container, p *field.Path) field.ErrorList {
	errs := probe(c.LivenessProbe, p.Child("livenessProbe"), true)
	errs = append(errs, probe(c.ReadinessProbe, p.Child("readinessProbe"), false)...)
	return append(errs, probe(c.StartupProbe, p.Child("startupProbe"), true)...)
}

func probe(b *corev1.Probe, p *field.Path, once bool) field.ErrorList {
	if b == nil {
		return nil
	}
	errs := handler(b.Exec, b.HTTPGet, b.TCPSocket, nil, b.GRPC, p)
	for _, f := range []struct {
		name  string
		value int32
	}{
		{"initialDelaySeconds", b.InitialDelaySeconds}, {"timeoutSeconds", b.TimeoutSeconds}, {"periodSeconds", b.PeriodSeconds},
		{"successThreshold", b.SuccessThreshold}, {"failureThreshold", b.FailureThreshold},
	} {
		errs = append(errs, nonNegative(int64(f.value), p.Child(f.name))...)
	}
	if t := b.TerminationGracePeriodSeconds; t != nil && *t <= 0 {
		errs = append(errs, field.Invalid(p.Child("terminationGracePeriodSeconds"), *t, "must be greater than 0"))
	}
	if once && b.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(p.Child("successThreshold"), b.SuccessThreshold, "must be 1"))
	}
	return errs
}

func lifecycle(l *corev1.Lifecycle, p *field.Path) field.ErrorList {
	if l == nil {
		return nil
	}
	var errs field.ErrorList
	if h := l.PostStart; h != nil {
		errs = append(errs, handler(h.Exec, h.HTTPGet, h.TCPSocket, h.Sleep, nil, p.Child("postStart"))...)
	}
	if h := l.PreStop; h != nil {
		errs = append(errs, handler(h.Exec, h.HTTPGet, h.TCPSocket, h.Sleep, nil, p.Child("preStop"))...)
	}
	return errs
}

// handler checks what a probe or a hook does: exactly one thing.
func handler(exec *corev1.ExecAction, get *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction, sleep *corev1.SleepAction, grpc *corev1.GRPCAction, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	n := 0
	count := func(name string, set bool) bool {
		if !set {
			return false
		}
		if n++; n > 1 {
			errs = append(errs, field.Forbidden(p.Child(name), "may not specify more than 1 handler type"))
		}
		return n == 1
	}
	if count("exec", exec != nil) && len(exec.Command) == 0 {
		errs = append(errs, field.Required(p.Child("exec", "command"), ""))
	}
	if count("httpGet", get != nil) {
		errs = append(errs, httpGet(get, p.Child("httpGet"))...)
	}
	if count("tcpSocket", tcp != nil) {
		errs = append(errs, portNumOrName(tcp.Port, p.Child("tcpSocket", "port"))...)
	}
	if count("grpc", grpc != nil) {
		errs = append(errs, portNumOrName(intstr.FromInt32(grpc.Port), p.Child("grpc", "port"))...)
	}
	if count("sleep", sleep != nil) {
		errs = append(errs, nonNegative(sleep.Seconds, p.Child("sleep", "seconds"))...)
	}
	if n == 0 {
		errs = append(errs, field.Required(p, "must specify a handler type"))
	}
	return errs
}

func httpGet(h *corev1.HTTPGetAction, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if h.Path == "" {
		errs = append(errs, field.Required(p.Child("path"), ""))
	}
	errs = append(errs, portNumOrName(h.Port, p.Child("port"))...)
	errs = append(errs, oneOf(h.Scheme, p.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for i, header := range h.HTTPHeaders {
		errs = append(errs, each(validation.IsHTTPHeaderName(header.Name), p.Child("httpHeaders").Index(i).Child("name"), header.Name)...)
	}
	return errs
}

func portNumOrName(port intstr.IntOrString, p *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return each(validation.IsValidPortNum(port.IntValue()), p, port.IntValue())
	}
	return each(validation.IsValidPortName(port.StrVal), p, port.StrVal)
}

func securityContext(s *corev1.SecurityContext, p *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	errs := ids(s.RunAsUser, s.RunAsGroup, p)
	if isTrue(s.Privileged) && s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
		errs = append(errs, field.Invalid(p, s, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
	}
	return errs
}

func ids(user, group *int64, p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if user != nil {
		errs = append(errs, each(validation.IsValidUserID(*user), p.Child("runAsUser"), *user)...)
	}
	if group != nil {
		errs = append(errs, each(validation.IsValidGroupID(*group), p.Child("runAsGroup"), *group)...)
	}
	return errs
}
