package nodeagent

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/volume"
)

// sandboxSpec is what the runtime is told of a pod.
func (a *Agent) sandboxSpec(pod *corev1.Pod) runtime.SandboxSpec {
	spec := runtime.SandboxSpec{
		Pod: a.podOf(pod), Hostname: hostname(pod), HostNetwork: pod.Spec.HostNetwork, ResolvConf: a.resolvConf(pod),
	}
	for _, h := range pod.Spec.HostAliases {
		spec.HostAliases = append(spec.HostAliases, runtime.HostAlias{IP: h.IP, Names: h.Hostnames})
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.HostPort > 0 {
				spec.HostPorts = append(spec.HostPorts, runtime.PortMapping{
					Protocol: string(p.Protocol), HostIP: p.HostIP, HostPort: int(p.HostPort), ContainerPort: int(p.ContainerPort),
				})
			}
		}
	}
	return spec
}

func (a *Agent) podOf(pod *corev1.Pod) runtime.Pod {
	return runtime.Pod{UID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Node: a.cfg.Node}
}

// hostname is the pod's own or its name, cut to what a host name may be.
func hostname(pod *corev1.Pod) string {
	name := pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// resolvConf is a pod's /etc/resolv.conf; empty for the node's own.
func (a *Agent) resolvConf(pod *corev1.Pod) string {
	var servers, searches, options []string
	policy := pod.Spec.DNSPolicy
	inCluster := policy == corev1.DNSClusterFirstWithHostNet || policy != corev1.DNSDefault && policy != corev1.DNSNone && !pod.Spec.HostNetwork
	if inCluster && len(a.cfg.ClusterDNS) > 0 {
		servers = slices.Clone(a.cfg.ClusterDNS)
		d := a.cfg.Domain
		searches = []string{pod.Namespace + ".svc." + d, "svc." + d, d}
		options = []string{"ndots:5"}
	}
	if c := pod.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		searches = append(searches, c.Searches...)
		for _, o := range c.Options {
			if o.Value != nil {
				options = append(options, o.Name+":"+*o.Value)
			} else {
				options = append(options, o.Name)
			}
		}
	}
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(searches, " "))
	}
	if len(options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	}
	return b.String()
}

// located is the pod with the addresses that it has by now.
func located(s lifecycle.State) *corev1.Pod {
	pod := *s.Pod
	pod.Status.PodIP, pod.Status.PodIPs, pod.Status.HostIP, pod.Status.HostIPs = "", nil, "", nil
	for i, ip := range s.Sandbox.Recorded {
		if i == 0 {
			pod.Status.PodIP = ip
		}
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	for i, ip := range s.HostIPs {
		if i == 0 {
			pod.Status.HostIP = ip
		}
		pod.Status.HostIPs = append(pod.Status.HostIPs, corev1.HostIP{IP: ip})
	}
	return &pod
}

// containerSpec is what the runtime is told of an attempt. The pod's volumes are
// made on the way. An error is an [*runtime.Error].
func (a *Agent) containerSpec(s lifecycle.State, act lifecycle.Action) (runtime.ContainerSpec, error) {
	pod := located(s)
	c := containerNamed(pod, act.Container)
	if c == nil {
		return runtime.ContainerSpec{}, configError(fmt.Errorf("container %q not found", act.Container))
	}
	in := namespaced{agent: a, namespace: pod.Namespace}
	env, err := variables(pod, c, in, a.allocatable())
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	mounts, err := a.mounts(pod, c, in, env)
	if err != nil {
		return runtime.ContainerSpec{}, err
	}
	return runtime.ContainerSpec{
		Pod: a.podOf(pod), Name: c.Name, Attempt: act.Attempt,
		Image: act.Image, Command: env.expandAll(c.Command), Args: env.expandAll(c.Args), Env: env.list(),
		WorkingDir: c.WorkingDir, Stdin: c.Stdin, TTY: c.TTY,
		Mounts: mounts, Resources: resources(c), Security: security(pod, c),
	}, nil
}

func containerNamed(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// mounts makes the pod's volumes and says where the container sees them.
func (a *Agent) mounts(pod *corev1.Pod, c *corev1.Container, in volume.Inputs, env *environment) ([]runtime.Mount, error) {
	uid := string(pod.UID)
	volumes, err := volume.Plan(pod, in, a.allocatable())
	if err != nil {
		return nil, configError(err)
	}
	if err := a.cfg.Volumes.Set(uid, volumes, fsGroup(pod)); err != nil {
		return nil, &runtime.Error{Reason: runtime.ReasonCreate, Message: err.Error(), Err: err}
	}
	mounts, err := a.cfg.Volumes.Mounts(uid, volumes, c, env.strictly)
	if err != nil {
		return nil, configError(err)
	}
	return mounts, nil
}

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

func resources(c *corev1.Container) runtime.Resources {
	limits, requests := c.Resources.Limits, c.Resources.Requests
	r := runtime.Resources{
		CPURequestMillis: requests.Cpu().MilliValue(),
		CPULimitMillis:   limits.Cpu().MilliValue(),
		MemoryLimitBytes: limits.Memory().Value(),
	}
	if _, set := requests[corev1.ResourceCPU]; !set {
		r.CPURequestMillis = r.CPULimitMillis
	}
	return r
}

// security merges what the pod and the container say; the container wins.
func security(pod *corev1.Pod, c *corev1.Container) runtime.Security {
	var out runtime.Security
	if p := pod.Spec.SecurityContext; p != nil {
		out.RunAsUser, out.RunAsGroup = p.RunAsUser, p.RunAsGroup
		out.RunAsNonRoot = is(p.RunAsNonRoot)
		out.SupplementalGroups = slices.Clone(p.SupplementalGroups)
		if p.FSGroup != nil {
			out.SupplementalGroups = append(out.SupplementalGroups, *p.FSGroup)
		}
	}
	s := c.SecurityContext
	if s == nil {
		return out
	}
	if s.RunAsUser != nil {
		out.RunAsUser = s.RunAsUser
	}
	if s.RunAsGroup != nil {
		out.RunAsGroup = s.RunAsGroup
	}
	if s.RunAsNonRoot != nil {
		out.RunAsNonRoot = *s.RunAsNonRoot
	}
	out.ReadOnlyRoot, out.Privileged = is(s.ReadOnlyRootFilesystem), is(s.Privileged)
	out.NoPrivilegeGain = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
	if s.Capabilities != nil {
		out.AddCapabilities, out.DropCapabilities = names(s.Capabilities.Add), names(s.Capabilities.Drop)
	}
	return out
}

func is(b *bool) bool { return b != nil && *b }

func names(caps []corev1.Capability) []string {
	var out []string
	for _, c := range caps {
		out = append(out, string(c))
	}
	return out
}

// capacity is what the node has.
func (a *Agent) capacity() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewMilliQuantity(a.info.CPUMillis, resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(a.info.MemoryBytes, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(a.info.StorageBytes, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(a.info.MaxPods), resource.DecimalSI),
	}
}

// allocatable is what of it pods can have: all.
func (a *Agent) allocatable() corev1.ResourceList { return a.capacity() }
