package reconcilertest

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// What people and nodes do. Each panics if the log refuses it, which is a mistake
// in the test.

// Create records an object that somebody made. What the door would fill in of
// its metadata is filled in.
func (c *Cluster) Create(k events.Key, obj runtime.Object) *projections.Object {
	m, ok := obj.(metav1.Object)
	if !ok {
		panic(fmt.Sprintf("%s has no metadata: %T", k, obj))
	}
	m.SetName(k.Name)
	m.SetNamespace(k.Namespace)
	if m.GetUID() == "" {
		m.SetUID(reconcilers.UIDOf(k.String(), fmt.Sprint(len(c.log))))
	}
	m.SetCreationTimestamp(reconcilers.Timestamp(c.now))
	m.SetGeneration(1)
	c.MustApply(projections.Created(k, events.TypeOf(strings.ToLower(projections.KindOf(k)), events.FactCreated), events.Ref{}, obj))
	return c.Object(k)
}

// Edit records that somebody changed an object; t says how.
func Edit[T runtime.Object](c *Cluster, k events.Key, t events.Type, change func(T)) events.Recorded {
	o := c.mustObject(k)
	v, m := reconcilers.Copy(o)
	typed, ok := v.(T)
	if !ok {
		panic(fmt.Sprintf("%s is a %T", k, v))
	}
	change(typed)
	if t.Fact() != events.FactMetadataChanged {
		m.SetGeneration(m.GetGeneration() + 1)
	}
	return c.MustApply(projections.Changed(o, t, events.Ref{}, v))
}

// Delete records that somebody deleted an object and nothing held it.
func (c *Cluster) Delete(k events.Key) events.Recorded {
	o := c.mustObject(k)
	return c.MustApply(projections.Removed(o, projections.TypeOf(o, events.FactDeleted), events.Ref{}))
}

// RequestDeletion records that somebody wants an object gone, with finalizers
// such as "foregroundDeletion" and the grace a pod has.
func (c *Cluster) RequestDeletion(k events.Key, finalizers ...string) events.Recorded {
	o := c.mustObject(k)
	return c.MustApply(projections.Changed(o, projections.TypeOf(o, events.FactDeletionRequested), events.Ref{}, reconcilers.Doomed(o, c.now, finalizers...)))
}

func (c *Cluster) mustObject(k events.Key) *projections.Object {
	o, ok := c.world.Get(k)
	if !ok {
		panic(fmt.Sprintf("%s does not exist", k))
	}
	return o
}

// Register records that a node came and is ready; allocatable is what it has,
// such as {"cpu": "4", "memory": "8Gi", "pods": "110"}.
func (c *Cluster) Register(node string, labels, allocatable map[string]string) {
	key := events.Key{Resource: projections.Nodes, Name: node}
	d := events.Registered{
		UID: string(reconcilers.UIDOf("node", node)), Labels: labels, Capacity: allocatable, Allocatable: allocatable,
		Addresses: []events.Address{{Type: "Hostname", Address: node}},
	}
	r := c.observe(key, node, 0, events.NodeRegistered, events.Ref{Seq: 1, ID: c.log[0].ID, Change: c.log[0].Change}, d)
	c.observe(key, node, r.Seq, events.NodeReady, r.Ref(), events.Readiness{Reason: "AgentReady", Message: "agent is ready"})
}

// Run records that a pod's node started all its containers, and they are ready.
func (c *Cluster) Run(pod *projections.Object) {
	node, uid := pod.NodeName(), string(pod.UID())
	r := c.observePod(pod, events.PodSandboxCreated, events.SandboxCreated{UID: uid, PodIPs: []string{"10.0.0.1"}})
	for _, container := range projections.As[*corev1.Pod](pod).Spec.Containers {
		d := events.Started{UID: uid, Container: container.Name, ID: "c" + uid, Image: container.Image, At: c.now, Ready: true}
		r = c.observe(pod.Key, node, r.Seq, events.ContainerStarted, r.Ref(), d)
	}
}

// SetReady records that the readiness of a pod's containers changed.
func (c *Cluster) SetReady(pod *projections.Object, ready bool) {
	for _, container := range projections.As[*corev1.Pod](pod).Spec.Containers {
		c.observePod(c.mustObject(pod.Key), events.ContainerReadyChanged, events.ReadyChanged{UID: string(pod.UID()), Container: container.Name, Ready: ready})
	}
}

// Reject records that a pod's node cannot run it: it has failed.
func (c *Cluster) Reject(pod *projections.Object) {
	c.observePod(pod, events.PodRejected, events.Rejected{UID: string(pod.UID()), Reason: "OutOfcpu", Message: "no"})
}

// Stop records that nothing of a pod is left on its node.
func (c *Cluster) Stop(pod *projections.Object) {
	c.observePod(pod, events.PodStopped, events.Stopped{UID: string(pod.UID())})
}

func (c *Cluster) observePod(pod *projections.Object, t events.Type, data any) events.Recorded {
	after := uint64(0)
	if pod.Observer == pod.NodeName() {
		after = pod.Observed.Seq
	}
	return c.observe(pod.Key, pod.NodeName(), after, t, pod.Desired, data)
}

func (c *Cluster) observe(k events.Key, node string, after uint64, t events.Type, cause events.Ref, data any) events.Recorded {
	return c.MustApply(events.New(k.Observed(node), after, t, cause, data))
}

// Pods lists the pods of a namespace that a uid controls; all if it is empty.
func (c *Cluster) Pods(namespace string, controller types.UID) []*projections.Object {
	var out []*projections.Object
	for o := range c.world.List(projections.Pods, namespace) {
		if ref := o.Controller(); controller == "" || ref != nil && ref.UID == controller {
			out = append(out, o)
		}
	}
	return out
}

// CauseChain follows the causes of an event to its end: the sequences, effect
// first.
func (c *Cluster) CauseChain(seq uint64) []events.Recorded {
	var chain []events.Recorded
	for seq > 0 && seq <= uint64(len(c.log)) {
		r := c.log[seq-1]
		chain = append(chain, r)
		seq = r.CauseAt
	}
	return chain
}

// Checked reports what of the log breaks its rules beyond what [Cluster.Apply]
// refuses: causes that are not earlier events, and chains that don't end with a
// person or the first event.
func (c *Cluster) Checked() error {
	for _, r := range c.log {
		if r.CauseAt >= r.Seq {
			return fmt.Errorf("event %d (%s) is caused by %d", r.Seq, r.Type.Short(), r.CauseAt)
		}
		if r.CauseAt > 0 && (c.log[r.CauseAt-1].ID != r.Cause || c.log[r.CauseAt-1].Change != r.Change) {
			return fmt.Errorf("event %d (%s): cause %d has another id or change set", r.Seq, r.Type.Short(), r.CauseAt)
		}
		chain := c.CauseChain(r.Seq)
		if end := chain[len(chain)-1]; !end.Actor.Person() {
			return fmt.Errorf("event %d (%s) leads back to %d (%s) by %s", r.Seq, r.Type.Short(), end.Seq, end.Type.Short(), end.Actor)
		}
	}
	return nil
}

// AdvanceToAlarm moves the clock to when the next reconciler wants to be asked
// again, if one does within a time.
func (c *Cluster) AdvanceToAlarm(within time.Duration) bool {
	at, ok := c.NextAlarm()
	if !ok || at.After(c.now.Add(within)) {
		return false
	}
	if at.After(c.now) {
		c.now = at
	}
	return true
}
