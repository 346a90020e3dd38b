package projections

import (
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// nodeFacts is what was observed of a node.
type nodeFacts struct {
	registered   events.Registered
	registeredAt time.Time
	ready        bool
	readyAt      time.Time
	readiness    events.Readiness
	reported     *corev1.NodeStatus
}

func nodeFactsOf(o *Object) nodeFacts { n, _ := o.facts.(nodeFacts); return n }

func (n nodeFacts) fold(r events.Recorded) (nodeFacts, error) {
	switch r.Type {
	case events.NodeRegistered:
		d, err := events.Decode[events.Registered](r)
		n.registered, n.registeredAt = d, r.Time
		return n, err
	case events.NodeReady:
		d, err := events.Decode[events.Readiness](r)
		if !n.ready {
			n.ready, n.readyAt = true, r.Time
		}
		n.readiness = d
		return n, err
	default:
		return n, nil
	}
}

// register folds the registration of a node that is not known: the node comes
// to be, without a desired half until somebody edits it.
func (f *folding) register() bool {
	d, err := events.Decode[events.Registered](f.r)
	if err != nil {
		return false
	}
	raw, err := json.Marshal(corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name: f.r.Subject.Key.Name, UID: types.UID(d.UID), Labels: d.Labels, CreationTimestamp: at(f.r.Time),
		},
		Spec: corev1.NodeSpec{PodCIDR: d.PodCIDR, PodCIDRs: cidrs(d.PodCIDR)},
	})
	if err != nil {
		return false
	}
	h, err := newHalf(raw)
	if err != nil {
		return false
	}
	o := (&Object{Key: f.r.Subject.Key}).with(f.r)
	o.half = h
	if o.facts, err = (nodeFacts{}).fold(f.r); err != nil {
		return false
	}
	f.put(o, nil)
	f.tell(o)
	return true
}

func cidrs(c string) []string {
	if c == "" {
		return nil
	}
	return []string{c}
}

// apply writes the status of a node.
func (n nodeFacts) apply(o *Object, v runtime.Object) {
	node, ok := v.(*corev1.Node)
	if !ok {
		return
	}
	if n.reported != nil {
		node.Status = *n.reported.DeepCopy()
	}
	if n.registeredAt.IsZero() {
		return
	}
	d := n.registered
	s := &node.Status
	s.Capacity, s.Allocatable = quantities(d.Capacity), quantities(d.Allocatable)
	s.Addresses = nil
	for _, a := range d.Addresses {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(a.Type), Address: a.Address})
	}
	s.NodeInfo = corev1.NodeSystemInfo{
		MachineID: d.Info.MachineID, SystemUUID: d.Info.MachineID, BootID: d.Info.BootID, KernelVersion: d.Info.KernelVersion,
		OSImage: d.Info.OSImage, ContainerRuntimeVersion: d.Info.ContainerRuntime, KubeletVersion: d.Info.AgentVersion,
		OperatingSystem: d.Info.OperatingSystem, Architecture: d.Info.Architecture,
	}
	s.Conditions = n.conditions(s.Conditions)
}

func (n nodeFacts) conditions(reported []corev1.NodeCondition) []corev1.NodeCondition {
	var out []corev1.NodeCondition
	for _, c := range reported {
		if c.Type != corev1.NodeReady {
			out = append(out, c)
		}
	}
	ready := corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "AgentNotReady", Message: "the node agent has registered and is starting",
		LastTransitionTime: at(n.registeredAt), LastHeartbeatTime: at(n.registeredAt),
	}
	if n.ready {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionTrue, n.readiness.Reason, n.readiness.Message
		ready.LastTransitionTime, ready.LastHeartbeatTime = at(n.readyAt), at(n.readyAt)
	}
	return append(out, ready)
}

func quantities(in map[string]string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, value := range in {
		if q, err := resource.ParseQuantity(value); err == nil {
			out[corev1.ResourceName(name)] = q
		}
	}
	return out
}

// NodeIsReady reports whether a node takes pods as far as its agent says.
func NodeIsReady(o *Object) bool {
	for _, c := range As[*corev1.Node](o).Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// otherFacts is the status that an outside controller reported for an object of
// a kind whose status is not folded.
type otherFacts struct{ status json.RawMessage }

func (s otherFacts) apply(_ *Object, v runtime.Object) {
	raw, err := json.Marshal(map[string]json.RawMessage{"status": s.status})
	if err == nil {
		// A status that does not fit its kind was refused at the door.
		_ = json.Unmarshal(raw, v)
	}
}

// withReported folds a status written through the door.
func withReported(o *Object, raw json.RawMessage) (facts, error) {
	decode := func(into any) error {
		if err := json.Unmarshal(raw, into); err != nil {
			return fmt.Errorf("decode reported status of %s: %w", o.Key, err)
		}
		return nil
	}
	switch o.Key.GroupResource() {
	case Pods:
		p := podFactsOf(o)
		p.reported = &corev1.PodStatus{}
		return p, decode(p.reported)
	case Nodes:
		n := nodeFactsOf(o)
		n.reported = &corev1.NodeStatus{}
		return n, decode(n.reported)
	case ReplicaSets:
		s := setFactsOf(o)
		s.reported = &appsv1.ReplicaSetStatus{}
		return s, decode(s.reported)
	case Deployments:
		r, _ := o.facts.(rolloutFacts)
		r.reported = &appsv1.DeploymentStatus{}
		return r, decode(r.reported)
	default:
		return otherFacts{status: raw}, nil
	}
}
