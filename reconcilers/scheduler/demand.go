package scheduler

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	resources "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"periplus.dev/projections"
)

// demand is what a pod asks of a node.
type demand struct {
	usage

	spec       *corev1.PodSpec
	affinity   nodeaffinity.RequiredNodeAffinity
	controller types.UID // empty if it has none
}

// usage is what a pod takes of a node.
type usage struct {
	requests amounts
	weight   amounts // requests, with a guess where nothing is requested
	ports    []port
}

// amounts are quantities by resource, CPU in thousandths.
type amounts map[corev1.ResourceName]int64

func amountsOf(list corev1.ResourceList) amounts {
	out := amounts{}
	for name, q := range list {
		out[name] = amount(name, q)
	}
	return out
}

func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

// add adds what others take; more than can be counted is as much as can be.
func (a amounts) add(o amounts) {
	for name, n := range o {
		if n > math.MaxInt64-a[name] {
			n = math.MaxInt64 - a[name]
		}
		a[name] += max(n, 0)
	}
}

func newDemand(o *projections.Object) demand {
	pod := projections.As[*corev1.Pod](o)
	return demand{usage: usageOf(pod), spec: &pod.Spec, affinity: nodeaffinity.GetRequiredNodeAffinity(pod), controller: controllerOf(o)}
}

func controllerOf(o *projections.Object) types.UID {
	if ref := o.Controller(); ref != nil {
		return ref.UID
	}
	return ""
}

// What a container that requests nothing is taken to use when nodes are compared,
// so that such pods spread as well; the numbers are upstream's.
const (
	guessedCPU    = 100       // thousandths
	guessedMemory = 200 << 20 // bytes
)

func usageOf(pod *corev1.Pod) usage {
	u := usage{requests: amountsOf(resources.PodRequests(pod, resources.PodResourcesOptions{})), ports: portsOf(&pod.Spec)}
	u.weight = amounts{corev1.ResourceCPU: u.requests[corev1.ResourceCPU], corev1.ResourceMemory: u.requests[corev1.ResourceMemory]}
	for name, guess := range map[corev1.ResourceName]int64{corev1.ResourceCPU: guessedCPU, corev1.ResourceMemory: guessedMemory} {
		if u.weight[name] == 0 {
			u.weight[name] = guess * int64(len(pod.Spec.Containers))
		}
	}
	return u
}

// port is a port of the node's own addresses.
type port struct {
	ip       string
	protocol corev1.Protocol
	number   int32
}

const everyAddress = "0.0.0.0"

func portsOf(spec *corev1.PodSpec) []port {
	var out []port
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			taken := port{ip: p.HostIP, protocol: p.Protocol, number: p.HostPort}
			if taken.ip == "" {
				taken.ip = everyAddress
			}
			if taken.protocol == "" {
				taken.protocol = corev1.ProtocolTCP
			}
			out = append(out, taken)
		}
	}
	for i := range spec.Containers {
		add(&spec.Containers[i])
	}
	for i := range spec.InitContainers {
		if p := spec.InitContainers[i].RestartPolicy; p != nil && *p == corev1.ContainerRestartPolicyAlways {
			add(&spec.InitContainers[i])
		}
	}
	return out
}

// clashes reports whether two ports cannot both be taken.
func (p port) clashes(o port) bool {
	return p.number == o.number && p.protocol == o.protocol &&
		(p.ip == o.ip || p.ip == everyAddress || o.ip == everyAddress)
}

func clash(a, b []port) bool {
	return slices.ContainsFunc(a, func(p port) bool { return slices.ContainsFunc(b, p.clashes) })
}
