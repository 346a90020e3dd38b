package projections

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// Object is everything the log has said about one object, up to one sequence.
// It never changes; a new event makes a new Object.
type Object struct {
	Key      events.Key
	Seq      uint64     // last event that changed it: its resourceVersion
	Desired  events.Ref // last event of the desired half; zero for a node nobody has edited
	Own      events.Ref // last event of the actual half by the control plane
	Observed events.Ref // last event of the actual half by the node Observer
	Observer string     // the node that recorded Observed

	half  *half     // desired half
	node  string    // pods: the node it was scheduled to, if the desired half does not say so yet
	facts facts     // folded actual half; nil if nothing was observed
	view  *snapshot // the whole, built when first asked for
}

// facts is the folded actual half of one kind. Implementations are immutable.
type facts interface {
	// apply writes the status into v, which is a shallow copy of the desired
	// half that the callee may change at the top level, in Spec and in Status.
	apply(o *Object, v runtime.Object)
}

type snapshot struct {
	once  sync.Once
	value runtime.Object
}

// Kind is the Kubernetes kind, such as "Pod".
func (o *Object) Kind() string {
	if k := KindOf(o.Key); k != "" {
		return k
	}
	return o.half.head.Kind
}

// UID is the object's uid.
func (o *Object) UID() types.UID { return o.half.head.Metadata.UID }

// Labels are the object's labels; they must not be modified.
func (o *Object) Labels() map[string]string { return o.half.head.Metadata.Labels }

// Annotations are the object's annotations; they must not be modified.
func (o *Object) Annotations() map[string]string { return o.half.head.Metadata.Annotations }

// Owners are the object's owner references; they must not be modified.
func (o *Object) Owners() []metav1.OwnerReference { return o.half.head.Metadata.OwnerReferences }

// Controller is the owner reference that has controller set, or nil.
func (o *Object) Controller() *metav1.OwnerReference {
	for i, ref := range o.half.head.Metadata.OwnerReferences {
		if ref.Controller != nil && *ref.Controller {
			return &o.half.head.Metadata.OwnerReferences[i]
		}
	}
	return nil
}

// Deleting reports whether the object has a deletion timestamp.
func (o *Object) Deleting() bool { return o.half.head.Metadata.DeletionTimestamp != nil }

// NodeName is the node a pod is bound to, or empty.
func (o *Object) NodeName() string {
	if o.half.head.NodeName != "" {
		return o.half.head.NodeName
	}
	return o.node
}

// Last is the newest event that is about the object itself.
func (o *Object) Last() events.Ref { return o.Desired.Newer(o.Own).Newer(o.Observed) }

// Raw is the desired half as it was recorded; it must not be modified. Secret
// values in it are sealed.
func (o *Object) Raw() json.RawMessage { return o.half.raw }

// Value is the whole object as Kubernetes shows it: desired half, status,
// resourceVersion; without TypeMeta unless it is unstructured. It is shared and
// must not be modified; make a DeepCopy first.
func (o *Object) Value() runtime.Object {
	o.view.once.Do(func() {
		v := o.build()
		if m, err := meta.Accessor(v); err == nil {
			m.SetResourceVersion(strconv.FormatUint(o.Seq, 10))
		}
		o.view.value = v
	})
	return o.view.value
}

func (o *Object) build() runtime.Object {
	if d, ok := o.facts.(derived); ok {
		return d.value(o)
	}
	v := shallow(o.half.decode(o.Key.GroupResource()))
	if o.facts != nil {
		o.facts.apply(o, v)
	}
	o.complete(v)
	return v
}

// complete adds what is known of v beside its halves.
func (o *Object) complete(v runtime.Object) {
	switch v := v.(type) {
	case *corev1.Pod:
		if v.Spec.NodeName == "" {
			v.Spec.NodeName = o.node
		}
	case *corev1.Namespace:
		v.Status.Phase = corev1.NamespaceActive
		if v.DeletionTimestamp != nil {
			v.Status.Phase = corev1.NamespaceTerminating
		}
	}
}

// Meta is the metadata of [Object.Value]; it must not be modified.
func (o *Object) Meta() metav1.Object {
	m, err := meta.Accessor(o.Value())
	if err != nil {
		panic(fmt.Sprintf("%s has no metadata: %v", o.Key, err))
	}
	return m
}

// As is the object's value as a pointer to its Go type, shared and not to be
// modified; it panics if the key's table holds another type.
func As[T runtime.Object](o *Object) T {
	return o.Value().(T) //nolint:forcetypeassert // the caller knows the table
}

// with returns a copy of o changed by an event.
func (o *Object) with(r events.Recorded) *Object {
	c := *o
	c.Seq = r.Seq
	c.view = &snapshot{}
	switch {
	case r.Subject.Key != o.Key: // a change that follows from another object's event
	case r.Subject.Half == events.Desired:
		c.Desired = r.Ref()
	case r.Subject.Node == "":
		c.Own = r.Ref()
	default:
		c.Observed, c.Observer = r.Ref(), r.Subject.Node
	}
	return &c
}

// shallow copies the top level of v, so that status and spec fields of the copy
// can be set; everything below is shared with v.
func shallow(v runtime.Object) runtime.Object {
	switch v := v.(type) {
	case *corev1.Pod:
		c := *v
		return &c
	case *corev1.Node:
		c := *v
		return &c
	case *corev1.Namespace:
		c := *v
		return &c
	case *appsv1.ReplicaSet:
		c := *v
		return &c
	case *appsv1.Deployment:
		c := *v
		return &c
	default:
		return v.DeepCopyObject()
	}
}

func at(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }
