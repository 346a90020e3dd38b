package projections

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// What facts are written as. A number is never used for something else.
const (
	wireNone = iota
	wirePod
	wireNode
	wireSet
	wireRollout
	wireOther
	wireDerived
)

// facts writes a folded actual half. A field that is not written here is lost at
// a restart: TestFactsSurvive fills every field there is.
func (e *encoder) facts(f facts) {
	switch f := f.(type) {
	case nil:
		e.uint(wireNone)
	case podFacts:
		e.uint(wirePod)
		e.pod(f)
	case nodeFacts:
		e.uint(wireNode)
		e.node(f)
	case setFacts:
		e.uint(wireSet)
		e.set(f)
	case rolloutFacts:
		e.uint(wireRollout)
		e.rollout(f)
	case otherFacts:
		e.uint(wireOther)
		e.bytes(f.status)
	case derived:
		e.uint(wireDerived)
		e.derived(f)
	default:
		e.uint(wireNone)
		if e.err == nil {
			e.err = fmt.Errorf("%T has no wire form", f)
		}
	}
}

func (d *decoder) facts() facts {
	switch kind := d.uint(); kind {
	case wireNone:
		return nil
	case wirePod:
		return d.pod()
	case wireNode:
		return d.node()
	case wireSet:
		return d.set()
	case wireRollout:
		return d.rollout()
	case wireOther:
		return otherFacts{status: d.bytes()}
	case wireDerived:
		return d.derived()
	default:
		if d.err == nil {
			d.err = fmt.Errorf("facts of an unknown kind %d", kind)
		}
		return nil
	}
}

func (e *encoder) pod(p podFacts) {
	e.time(p.scheduledAt)
	e.text(p.unschedulable)
	e.time(p.refusedAt)
	e.texts(p.podIPs)
	e.texts(p.hostIPs)
	e.time(p.startedAt)
	putOptional(e, p.rejected)
	e.bool(p.stopping)
	e.bool(p.stopped)
	putMap(e, p.containers, func(name string, c containerFacts) {
		e.text(name)
		e.container(c.status)
	})
	e.bool(p.ready)
	e.time(p.readyAt)
	e.bool(p.initialized)
	e.time(p.initAt)
	e.bool(p.matured)
	putOptional(e, p.reported)
}

func (d *decoder) pod() podFacts {
	var p podFacts
	p.scheduledAt, p.unschedulable, p.refusedAt = d.time(), d.text(), d.time()
	p.podIPs, p.hostIPs = d.texts(), d.texts()
	p.startedAt = d.time()
	p.rejected = getOptional[events.Rejected](d)
	p.stopping, p.stopped = d.bool(), d.bool()
	p.containers = getMap(d, func() (string, containerFacts) { return d.word(), containerFacts{status: d.container()} })
	p.ready, p.readyAt = d.bool(), d.time()
	p.initialized, p.initAt = d.bool(), d.time()
	p.matured = d.bool()
	p.reported = getOptional[corev1.PodStatus](d)
	return p
}

// container writes the fields that facts fill as they are, and others, should
// there be any, as JSON.
func (e *encoder) container(s corev1.ContainerStatus) {
	e.text(s.Name)
	e.containerState(s.State)
	e.containerState(s.LastTerminationState)
	e.bool(s.Ready)
	e.int(int(s.RestartCount))
	e.text(s.Image)
	e.text(s.ImageID)
	e.text(s.ContainerID)
	e.bool(s.Started != nil)
	e.bool(s.Started != nil && *s.Started)
	rest := corev1.ContainerStatus{
		AllocatedResources: s.AllocatedResources, Resources: s.Resources, VolumeMounts: s.VolumeMounts,
		User: s.User, AllocatedResourcesStatus: s.AllocatedResourcesStatus, StopSignal: s.StopSignal,
	}
	has := rest.AllocatedResources != nil || rest.Resources != nil || rest.VolumeMounts != nil ||
		rest.User != nil || rest.AllocatedResourcesStatus != nil || rest.StopSignal != nil
	e.bool(has)
	if has {
		e.json(rest)
	}
}

func (d *decoder) container() corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: d.word(), State: d.containerState(), LastTerminationState: d.containerState()}
	s.Ready, s.RestartCount = d.bool(), int32(d.int())
	s.Image, s.ImageID, s.ContainerID = d.word(), d.word(), d.text()
	if set, started := d.bool(), d.bool(); set {
		s.Started = &started
	}
	if d.bool() {
		var rest corev1.ContainerStatus
		d.json(&rest)
		s.AllocatedResources, s.Resources, s.VolumeMounts = rest.AllocatedResources, rest.Resources, rest.VolumeMounts
		s.User, s.AllocatedResourcesStatus, s.StopSignal = rest.User, rest.AllocatedResourcesStatus, rest.StopSignal
	}
	return s
}

func (e *encoder) containerState(s corev1.ContainerState) {
	e.bool(s.Waiting != nil)
	if w := s.Waiting; w != nil {
		e.text(w.Reason)
		e.text(w.Message)
	}
	e.bool(s.Running != nil)
	if r := s.Running; r != nil {
		e.time(r.StartedAt.Time)
	}
	e.bool(s.Terminated != nil)
	if t := s.Terminated; t != nil {
		e.int(int(t.ExitCode))
		e.int(int(t.Signal))
		e.text(t.Reason)
		e.text(t.Message)
		e.time(t.StartedAt.Time)
		e.time(t.FinishedAt.Time)
		e.text(t.ContainerID)
	}
}

func (d *decoder) containerState() corev1.ContainerState {
	var s corev1.ContainerState
	if d.bool() {
		s.Waiting = &corev1.ContainerStateWaiting{Reason: d.word(), Message: d.text()}
	}
	if d.bool() {
		s.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(d.time())}
	}
	if d.bool() {
		s.Terminated = &corev1.ContainerStateTerminated{
			ExitCode: int32(d.int()), Signal: int32(d.int()), Reason: d.word(), Message: d.text(),
			StartedAt: metav1.NewTime(d.time()), FinishedAt: metav1.NewTime(d.time()), ContainerID: d.text(),
		}
	}
	return s
}

func (e *encoder) node(n nodeFacts) {
	e.json(n.registered)
	e.time(n.registeredAt)
	e.bool(n.ready)
	e.time(n.readyAt)
	e.json(n.readiness)
	putOptional(e, n.reported)
}

func (d *decoder) node() nodeFacts {
	var n nodeFacts
	d.json(&n.registered)
	n.registeredAt, n.ready, n.readyAt = d.time(), d.bool(), d.time()
	d.json(&n.readiness)
	n.reported = getOptional[corev1.NodeStatus](d)
	return n
}

func (e *encoder) set(s setFacts) {
	for _, n := range []int{s.counts.replicas, s.counts.labeled, s.counts.ready, s.counts.matured, s.counts.terminating, s.requested} {
		e.int(n)
	}
	putMap(e, s.vacated, func(slot int, by events.Ref) {
		e.int(slot)
		e.ref(by)
	})
	putOptional(e, s.reported)
}

func (d *decoder) set() setFacts {
	var s setFacts
	for _, n := range []*int{&s.counts.replicas, &s.counts.labeled, &s.counts.ready, &s.counts.matured, &s.counts.terminating, &s.requested} {
		*n = d.int()
	}
	s.vacated = getMap(d, func() (int, events.Ref) { return d.int(), d.ref() })
	s.reported = getOptional[appsv1.ReplicaSetStatus](d)
	return s
}

func (e *encoder) rollout(r rolloutFacts) {
	for _, n := range []int{r.replicas, r.updated, r.ready, r.available, r.wanted, r.terminating} {
		e.int(n)
	}
	e.bool(r.isAvailable)
	e.time(r.availableAt)
	e.text(r.progress)
	e.text(r.newSet)
	e.time(r.progressAt)
	e.time(r.progressUpdatedAt)
	putOptional(e, r.reported)
}

func (d *decoder) rollout() rolloutFacts {
	var r rolloutFacts
	for _, n := range []*int{&r.replicas, &r.updated, &r.ready, &r.available, &r.wanted, &r.terminating} {
		*n = d.int()
	}
	r.isAvailable, r.availableAt = d.bool(), d.time()
	r.progress, r.newSet = d.text(), d.text()
	r.progressAt, r.progressUpdatedAt = d.time(), d.time()
	r.reported = getOptional[appsv1.DeploymentStatus](d)
	return r
}

func (e *encoder) derived(v derived) {
	e.bool(v.warning)
	for _, s := range []string{v.reason, v.message, v.container} {
		e.text(s)
	}
	e.uint(v.seq)
	e.time(v.time)
	e.text(v.source)
	for _, s := range []string{v.ref.Kind, v.ref.Namespace, v.ref.Name, string(v.ref.UID), v.ref.APIVersion, v.ref.ResourceVersion, v.ref.FieldPath} {
		e.text(s)
	}
	e.text(string(v.uid))
}

func (d *decoder) derived() derived {
	var v derived
	v.warning = d.bool()
	v.reason, v.message, v.container = d.word(), d.word(), d.word()
	v.seq, v.time, v.source = d.uint(), d.time(), d.word()
	v.ref = corev1.ObjectReference{
		Kind: d.word(), Namespace: d.word(), Name: d.word(), UID: types.UID(d.word()),
		APIVersion: d.word(), ResourceVersion: d.text(), FieldPath: d.word(),
	}
	v.uid = types.UID(d.text())
	return v
}

func (e *encoder) load(l Load) {
	e.int(l.Pods)
	e.amounts(l.Requests)
	e.amounts(l.Weight)
	e.uint(uint64(len(l.Ports)))
	for _, p := range l.Ports {
		e.text(p.IP)
		e.text(string(p.Protocol))
		e.int(int(p.Port))
	}
	putMap(e, l.Controllers, func(uid types.UID, n int) {
		e.text(string(uid))
		e.int(n)
	})
}

func (d *decoder) load() Load {
	l := Load{Pods: d.int(), Requests: d.amounts(), Weight: d.amounts()}
	for range d.count() {
		l.Ports = append(l.Ports, HostPort{IP: d.word(), Protocol: corev1.Protocol(d.word()), Port: int32(d.int())})
	}
	l.Controllers = getMap(d, func() (types.UID, int) { return types.UID(d.text()), d.int() })
	return l
}

func (e *encoder) amounts(a Amounts) {
	putMap(e, a, func(name corev1.ResourceName, n int64) {
		e.text(string(name))
		e.int(int(n))
	})
}

func (d *decoder) amounts() Amounts {
	return getMap(d, func() (corev1.ResourceName, int64) { return corev1.ResourceName(d.word()), int64(d.int()) })
}
