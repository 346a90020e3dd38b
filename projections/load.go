package projections

import (
	"maps"
	"math"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	resources "k8s.io/component-helpers/resource"
)

// Amounts are quantities by resource: CPU in thousandths, bytes or pieces else.
type Amounts map[corev1.ResourceName]int64

// AmountsOf reads a resource list.
func AmountsOf(list corev1.ResourceList) Amounts {
	out := Amounts{}
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

// plus returns a with b added, or taken off if sign is -1. More than can be
// counted is as much as can be.
func (a Amounts) plus(b Amounts, sign int64) Amounts {
	out := maps.Clone(a)
	if out == nil {
		out = Amounts{}
	}
	for name, n := range b {
		n = max(n, 0)
		if sign > 0 && n > math.MaxInt64-out[name] {
			n = math.MaxInt64 - out[name]
		}
		if out[name] += sign * n; out[name] == 0 {
			delete(out, name)
		}
	}
	return out
}

// HostPort is a port of a node's own addresses.
type HostPort struct {
	IP       string // "0.0.0.0" for all
	Protocol corev1.Protocol
	Port     int32
}

// Usage is what one pod takes of its node.
type Usage struct {
	Requests Amounts
	Weight   Amounts // CPU and memory, with a guess where nothing is requested
	Ports    []HostPort
}

// Load is what the unfinished pods of a node take of it. Not to be modified.
type Load struct {
	Pods        int
	Requests    Amounts
	Weight      Amounts
	Ports       []HostPort
	Controllers map[types.UID]int // pods that are not being deleted, by their controller
}

// Load is what the pods bound to a node take of it.
func (w *World) Load(node string) Load {
	l, _ := w.loads.Get([]byte(node))
	return l
}

// UsageOf is what a pod takes of the node it is on, or is going to be on. Not to
// be modified.
func UsageOf(o *Object) Usage {
	o.half.usageOnce.Do(func() {
		if pod, ok := o.half.decode(Pods).(*corev1.Pod); ok {
			o.half.usage = usageOf(pod)
		}
	})
	return o.half.usage
}

// What a container that requests nothing is taken to use when nodes are compared,
// so that such pods spread as well; the numbers are upstream's.
const (
	guessedCPU    = 100       // thousandths
	guessedMemory = 200 << 20 // bytes
)

func usageOf(pod *corev1.Pod) Usage {
	u := Usage{Requests: AmountsOf(resources.PodRequests(pod, resources.PodResourcesOptions{})), Ports: hostPorts(&pod.Spec)}
	u.Weight = Amounts{}
	for _, guess := range []struct {
		name corev1.ResourceName
		each int64
	}{{corev1.ResourceCPU, guessedCPU}, {corev1.ResourceMemory, guessedMemory}} {
		if u.Weight[guess.name] = u.Requests[guess.name]; u.Weight[guess.name] == 0 {
			u.Weight[guess.name] = guess.each * int64(len(pod.Spec.Containers))
		}
	}
	return u
}

func hostPorts(spec *corev1.PodSpec) []HostPort {
	var out []HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			taken := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if taken.IP == "" {
				taken.IP = "0.0.0.0"
			}
			if taken.Protocol == "" {
				taken.Protocol = corev1.ProtocolTCP
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

// burden is what a pod adds to the load of a node: the node is empty if none.
type burden struct {
	node       string
	controller types.UID // empty if it has none, or is being deleted
}

func burdenOf(o *Object) burden {
	if o == nil || o.Key.GroupResource() != Pods || o.NodeName() == "" || PodFinished(o) {
		return burden{}
	}
	b := burden{node: o.NodeName()}
	if ref := o.Controller(); ref != nil && !o.Deleting() {
		b.controller = ref.UID
	}
	return b
}

// carry moves a pod from the load it was to the load it is.
func carry(loads *iradix.Txn[Load], before, after *Object) {
	was, is := burdenOf(before), burdenOf(after)
	if was == is && (before == nil || after == nil || before.half == after.half) {
		return
	}
	if was.node != "" {
		putLoad(loads, was, before, -1)
	}
	if is.node != "" {
		putLoad(loads, is, after, 1)
	}
}

func putLoad(loads *iradix.Txn[Load], b burden, o *Object, sign int) {
	key := []byte(b.node)
	l, _ := loads.Get(key)
	u := UsageOf(o)
	l.Pods += sign
	l.Requests, l.Weight = l.Requests.plus(u.Requests, int64(sign)), l.Weight.plus(u.Weight, int64(sign))
	if len(u.Ports) > 0 {
		l.Ports = slices.Clone(l.Ports)
		for _, p := range u.Ports {
			if sign > 0 {
				l.Ports = append(l.Ports, p)
			} else if i := slices.Index(l.Ports, p); i >= 0 {
				l.Ports = slices.Delete(l.Ports, i, i+1)
			}
		}
	}
	if b.controller != "" {
		l.Controllers = maps.Clone(l.Controllers)
		if l.Controllers == nil {
			l.Controllers = map[types.UID]int{}
		}
		if l.Controllers[b.controller] += sign; l.Controllers[b.controller] == 0 {
			delete(l.Controllers, b.controller)
		}
	}
	if l.Pods == 0 {
		loads.Delete(key)
		return
	}
	loads.Insert(key, l)
}
