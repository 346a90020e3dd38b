package projections

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// note is what kubectl describe says of an event of the log.
type note struct {
	about           *Object
	warning         bool
	reason, message string
	container       string // name of the container it speaks of, if any
}

// tell folds the Kubernetes Events that stand for f.r; o is the object it was
// recorded about.
func (f *folding) tell(o *Object) {
	for i, n := range f.notes(o) {
		f.note(i, n)
	}
}

// notes are the Kubernetes Events of f.r, as upstream's components would write
// them.
func (f *folding) notes(o *Object) []note {
	switch o.Key.GroupResource() {
	case Pods:
		return f.podNotes(o)
	case ReplicaSets:
		return f.setNotes(o)
	case Nodes:
		return nodeNotes(o, f.r)
	default:
		return nil
	}
}

func (f *folding) podNotes(o *Object) []note {
	switch f.r.Type {
	case events.PodScheduled:
		return []note{{about: o, reason: "Scheduled", message: fmt.Sprintf("Successfully assigned %s/%s to %s", o.Key.Namespace, o.Key.Name, o.NodeName())}}
	case events.PodUnschedulable:
		return []note{{about: o, warning: true, reason: "FailedScheduling", message: podFactsOf(o).unschedulable}}
	case events.PodRejected:
		if d := podFactsOf(o).rejected; d != nil {
			return []note{{about: o, warning: true, reason: d.Reason, message: d.Message}}
		}
		return nil
	case events.PodStopping:
		return stoppingNotes(o)
	case events.PodRequested:
		return f.controllerNote(o, "SuccessfulCreate", "Created pod: "+o.Key.Name)
	case events.PodRetired:
		return f.controllerNote(o, "SuccessfulDelete", "Deleted pod: "+o.Key.Name)
	default:
		return containerNotes(o, f.r)
	}
}

func (f *folding) controllerNote(o *Object, reason, message string) []note {
	if ref := o.Controller(); ref != nil {
		if owner, ok := f.byUID(ref.UID); ok {
			return []note{{about: owner, reason: reason, message: message}}
		}
	}
	return nil
}

func stoppingNotes(o *Object) []note {
	var out []note
	for _, name := range o.half.shape().containers {
		if podFactsOf(o).containers[name].status.State.Running != nil {
			out = append(out, note{about: o, reason: "Killing", message: "Stopping container " + name, container: name})
		}
	}
	return out
}

// containerNotes are the notes about images and containers of a pod.
func containerNotes(o *Object, r events.Recorded) []note {
	one := func(warning bool, container, reason, message string) []note {
		return []note{{about: o, warning: warning, reason: reason, message: message, container: container}}
	}
	switch r.Type {
	case events.ImagePullStarted:
		d, _ := events.Decode[events.PullStarted](r)
		return one(false, d.Container, "Pulling", fmt.Sprintf("Pulling image %q", d.Image))
	case events.ImagePulled:
		d, _ := events.Decode[events.Pulled](r)
		if d.AlreadyPresent {
			return one(false, d.Container, "Pulled", fmt.Sprintf("Container image %q already present on machine", d.Image))
		}
		took := time.Duration(d.Millis) * time.Millisecond
		return one(false, d.Container, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s. Image size: %d bytes.", d.Image, took, d.Bytes))
	case events.ImagePullFailed:
		d, _ := events.Decode[events.PullFailed](r)
		return []note{
			{about: o, warning: true, reason: "Failed", message: fmt.Sprintf("Failed to pull image %q: %s", d.Image, d.Message), container: d.Container},
			{about: o, warning: true, reason: "Failed", message: "Error: " + d.Reason, container: d.Container},
		}
	case events.ContainerStarted:
		d, _ := events.Decode[events.Started](r)
		return []note{
			{about: o, reason: "Created", message: "Created container: " + d.Container, container: d.Container},
			{about: o, reason: "Started", message: "Started container " + d.Container, container: d.Container},
		}
	case events.ContainerStartFailed:
		d, _ := events.Decode[events.StartFailed](r)
		return one(true, d.Container, "Failed", "Error: "+d.Message)
	case events.ContainerBackingOff:
		d, _ := events.Decode[events.BackingOff](r)
		return one(true, d.Container, "BackOff",
			fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", d.Container, o.Key.Name, o.Key.Namespace, o.UID()))
	default:
		return nil
	}
}

// setNotes tell a Deployment that one of its sets was scaled.
func (f *folding) setNotes(o *Object) []note {
	if f.r.Type != events.ReplicaSetRolledOut && f.r.Type != events.ReplicaSetStepped {
		return nil
	}
	set, _ := o.half.decode(ReplicaSets).(*appsv1.ReplicaSet)
	if set == nil {
		return nil
	}
	from, to := int32(0), replicasOf(set.Spec.Replicas)
	if prev := f.previous(o); prev != nil {
		if old, ok := prev.half.decode(ReplicaSets).(*appsv1.ReplicaSet); ok {
			from = replicasOf(old.Spec.Replicas)
		}
	}
	verb := "up"
	switch {
	case from == to:
		return nil
	case to < from:
		verb = "down"
	}
	return f.controllerNote(o, "ScalingReplicaSet", fmt.Sprintf("Scaled %s replica set %s from %d to %d", verb, o.Key.Name, from, to))
}

// previous is an object as it was before this fold.
func (f *folding) previous(o *Object) *Object {
	p, _ := f.world.Get(o.Key)
	return p
}

func nodeNotes(o *Object, r events.Recorded) []note {
	switch r.Type {
	case events.NodeRegistered:
		return []note{{about: o, reason: "RegisteredNode", message: "Node " + o.Key.Name + " registered with the cluster"}}
	case events.NodeReady:
		return []note{{about: o, reason: "NodeReady", message: "Node " + o.Key.Name + " status is now: NodeReady"}}
	default:
		return nil
	}
}

// derived is a Kubernetes Event that was folded from an event of the log.
type derived struct {
	note
	seq    uint64
	time   time.Time
	source string
	ref    corev1.ObjectReference
	uid    types.UID
}

func (derived) apply(*Object, runtime.Object) {}

// Derived reports whether the object was folded from the log as a view and is
// not an object in its own right.
func (o *Object) Derived() bool { _, ok := o.facts.(derived); return ok }

// note adds the n-th Kubernetes Event of f.r.
func (f *folding) note(n int, t note) {
	about := t.about
	namespace := about.Key.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	key := events.Key{Resource: KubeEvents, Namespace: namespace, Name: fmt.Sprintf("%s.%016x", about.Key.Name, f.r.Seq<<4|uint64(n))}
	d := derived{note: t, seq: f.r.Seq, time: f.r.Time, source: component(f.r.Source), ref: reference(about, t.container), uid: types.UID(fmt.Sprintf("%s-%d", f.r.ID, n))}
	d.about = nil
	h := &half{}
	h.head.Kind, h.head.Metadata.UID = "Event", d.uid
	o := &Object{Key: key, Seq: f.r.Seq, Desired: f.r.Ref(), half: h, facts: d, view: &snapshot{}}
	f.objects.Insert(objectKey(key), o)
	f.index.Insert(indexKey(ofEvent, string(about.UID()), key), key)
	f.count(KubeEvents, 1)
	f.changes = append(f.changes, Change{Seq: f.r.Seq, Type: Added, Object: o})
}

func reference(o *Object, container string) corev1.ObjectReference {
	ref := corev1.ObjectReference{
		Kind: o.Kind(), Namespace: o.Key.Namespace, Name: o.Key.Name, UID: o.UID(), APIVersion: "v1", ResourceVersion: fmt.Sprint(o.Seq),
	}
	if k, ok := kindOf(o.Key.GroupResource()); ok {
		ref.APIVersion = k.gvk.GroupVersion().String()
	}
	if container != "" {
		ref.FieldPath = "spec.containers{" + container + "}"
	}
	return ref
}

// component names the source of an event as upstream's users know it.
func component(s events.Source) string {
	switch s.Owner() {
	case events.OwnerNode:
		return "kubelet"
	case events.OwnerScheduler:
		return "default-scheduler"
	case events.OwnerDeployments:
		return "deployment-controller"
	case events.OwnerReplicas:
		return "replicaset-controller"
	default:
		return strings.TrimPrefix(string(s), "/")
	}
}

// value is the Kubernetes Event.
func (d derived) value(o *Object) *corev1.Event {
	when, kind := at(d.time), corev1.EventTypeNormal
	if d.warning {
		kind = corev1.EventTypeWarning
	}
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: o.Key.Name, Namespace: o.Key.Namespace, UID: d.uid, CreationTimestamp: when},
		InvolvedObject: d.ref, Reason: d.reason, Message: d.message, Type: kind, Count: 1, FirstTimestamp: when, LastTimestamp: when,
		Source:              corev1.EventSource{Component: d.source},
		ReportingController: d.source,
	}
}

// forget lets the Kubernetes Events of a deleted object go when their time is over.
func (f *folding) forget(o *Object) {
	f.index.Insert([]byte(string(rune(expiry))+f.r.Stored.UTC().Format("20060102150405")+sep+string(o.UID())), events.Key{Name: string(o.UID())})
}

// expire drops the Kubernetes Events of objects deleted longer ago than keepEvents.
func (f *folding) expire() {
	limit := string(rune(expiry)) + f.r.Stored.Add(-keepEvents).UTC().Format("20060102150405")
	for {
		it := f.index.Root().Iterator()
		it.SeekPrefix([]byte{expiry})
		k, uid, ok := it.Next()
		if !ok || string(k) >= limit {
			return
		}
		f.index.Delete(k)
		f.gone.Delete([]byte(uid.Name))
		f.dropNotes(uid.Name)
	}
}

func (f *folding) dropNotes(uid string) {
	var keys []events.Key
	it := f.index.Root().Iterator()
	it.SeekPrefix(indexPrefix(ofEvent, uid))
	for _, key, ok := it.Next(); ok; _, key, ok = it.Next() {
		keys = append(keys, key)
	}
	for _, key := range keys {
		f.index.Delete(indexKey(ofEvent, uid, key))
		if o, ok := f.objects.Delete(objectKey(key)); ok {
			f.count(KubeEvents, -1)
			gone := *o
			gone.Seq, gone.view = f.r.Seq, &snapshot{}
			f.changes = append(f.changes, Change{Seq: f.r.Seq, Type: Deleted, Object: &gone, Prev: o})
		}
	}
}
