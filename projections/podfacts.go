package projections

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"periplus.dev/events"
)

// podFacts is what was observed of a pod.
type podFacts struct {
	scheduledAt   time.Time
	unschedulable string // the scheduler's message; empty if it has none
	refusedAt     time.Time

	podIPs, hostIPs []string
	startedAt       time.Time // sandbox created
	rejected        *events.Rejected
	stopping        bool
	stopped         bool
	containers      map[string]containerFacts // by name; init containers too

	ready       bool
	readyAt     time.Time // when ready last changed
	initialized bool
	initAt      time.Time
	matured     bool              // ready for minReadySeconds
	reported    *corev1.PodStatus // written through the door by an outside controller
}

// containerFacts is what was observed of one container.
type containerFacts struct {
	status corev1.ContainerStatus
}

func podFactsOf(o *Object) podFacts { p, _ := o.facts.(podFacts); return p }

// fold returns p after a fact about the pod.
func (p podFacts) fold(o *Object, r events.Recorded) (podFacts, error) {
	next, err := p.foldFact(r)
	if err != nil {
		return p, err
	}
	return next.settle(o, r.Time), nil
}

func (p podFacts) foldFact(r events.Recorded) (podFacts, error) {
	switch r.Type {
	case events.PodUnschedulable:
		d, err := events.Decode[events.Unschedulable](r)
		p.unschedulable, p.refusedAt = d.Message, r.Time
		return p, err
	case events.PodMatured:
		p.matured = p.ready
		return p, nil
	case events.PodSandboxCreated:
		d, err := events.Decode[events.SandboxCreated](r)
		p.podIPs, p.hostIPs = d.PodIPs, d.HostIPs
		if p.startedAt.IsZero() {
			p.startedAt = r.Time
		}
		return p, err
	case events.PodRejected:
		d, err := events.Decode[events.Rejected](r)
		p.rejected = &d
		return p, err
	case events.PodStopping:
		p.stopping = true
		return p, nil
	case events.PodStopped:
		p.stopped = true
		return p, nil
	default:
		return p.foldContainer(r)
	}
}

// scheduled returns p after a node was chosen.
func (p podFacts) scheduled(when time.Time) podFacts {
	p.scheduledAt, p.unschedulable = when, ""
	return p
}

// settle derives readiness, and when it last changed, from the containers.
func (p podFacts) settle(o *Object, when time.Time) podFacts {
	shape := o.half.shape()
	ready := p.rejected == nil && !p.stopped && len(shape.containers) > 0
	for _, name := range shape.containers {
		ready = ready && p.containers[name].status.Ready
	}
	for _, c := range shape.inits {
		ready = ready && (!c.sidecar || p.containers[c.name].status.Ready)
	}
	if ready != p.ready {
		p.ready, p.readyAt = ready, when
	}
	if !ready {
		p.matured = false
	}
	initialized := len(p.uninitialized(shape)) == 0
	if initialized && !p.initialized && !p.startedAt.IsZero() {
		p.initialized, p.initAt = true, when
	}
	return p
}

// foldContainer folds a fact about one container.
func (p podFacts) foldContainer(r events.Recorded) (podFacts, error) {
	switch r.Type {
	case events.ImagePullStarted:
		return p, nil
	case events.ImagePulled:
		d, err := events.Decode[events.Pulled](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) {
			if pulling(s.State.Waiting) {
				s.State = waiting("ContainerCreating", "")
			}
		}), err
	case events.ImagePullFailed:
		d, err := events.Decode[events.PullFailed](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) { pullFailed(s, d) }), err
	case events.ContainerStarted:
		d, err := events.Decode[events.Started](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) { started(s, d) }), err
	case events.ContainerStartFailed:
		d, err := events.Decode[events.StartFailed](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) { startFailed(s, d) }), err
	case events.ContainerExited:
		d, err := events.Decode[events.Exited](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) { exited(s, d) }), err
	case events.ContainerBackingOff:
		d, err := events.Decode[events.BackingOff](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) {
			retire(s)
			s.State = waiting("CrashLoopBackOff", d.Message)
		}), err
	case events.ContainerReadyChanged:
		d, err := events.Decode[events.ReadyChanged](r)
		return p.update(d.Container, func(s *corev1.ContainerStatus) {
			s.Ready = d.Ready && s.State.Running != nil
		}), err
	default:
		return p, nil
	}
}

func (p podFacts) update(container string, change func(*corev1.ContainerStatus)) podFacts {
	p.containers = maps.Clone(p.containers)
	if p.containers == nil {
		p.containers = map[string]containerFacts{}
	}
	c := p.containers[container]
	c.status.Name = container
	change(&c.status)
	p.containers[container] = c
	return p
}

// retire moves a past run to the last state.
func retire(s *corev1.ContainerStatus) {
	if s.State.Terminated != nil {
		s.LastTerminationState = corev1.ContainerState{Terminated: s.State.Terminated}
	}
}

func started(s *corev1.ContainerStatus, d events.Started) {
	retire(s)
	yes := true
	s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(d.At)}}
	s.ContainerID, s.Image, s.ImageID = runtimeID(d.ID), d.Image, d.ImageID
	s.RestartCount, s.Ready, s.Started = int32(d.Attempt), d.Ready, &yes
}

func exited(s *corev1.ContainerStatus, d events.Exited) {
	retire(s)
	no := false
	s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(d.ExitCode), Reason: d.Reason, Message: d.Message,
		StartedAt: at(d.StartedAt), FinishedAt: at(d.FinishedAt), ContainerID: runtimeID(d.ID),
	}}
	s.RestartCount = max(s.RestartCount, int32(d.Attempt))
	s.Ready, s.Started = false, &no
	if s.ContainerID == "" {
		s.ContainerID = runtimeID(d.ID)
	}
}

func startFailed(s *corev1.ContainerStatus, d events.StartFailed) {
	retire(s)
	no := false
	s.Ready, s.Started = false, &no
	s.RestartCount = max(s.RestartCount, int32(d.Attempt))
	s.State = waiting(d.Reason, d.Message)
	if d.ExitCode == 0 {
		return
	}
	ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: int32(d.ExitCode), Reason: "StartError", Message: d.Message, FinishedAt: at(d.At),
	}}
	if d.RetryAt.IsZero() {
		s.State = ended
		return
	}
	s.LastTerminationState = ended
}

func pullFailed(s *corev1.ContainerStatus, d events.PullFailed) {
	retire(s)
	if d.Reason == "ErrImagePull" && pulling(s.State.Waiting) {
		s.State = waiting("ImagePullBackOff", "Back-off pulling image \""+d.Image+"\": ErrImagePull: "+d.Message)
		return
	}
	s.State = waiting(d.Reason, d.Message)
}

// pulling reports whether a container waits because its image could not be had.
func pulling(w *corev1.ContainerStateWaiting) bool {
	return w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff" || w.Reason == "ErrImageNeverPull" || w.Reason == "InvalidImageName")
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func runtimeID(id string) string {
	if id == "" {
		return ""
	}
	return "containerd://" + id
}

// PodStopped reports whether a pod's node recorded that nothing of it is left.
func PodStopped(o *Object) bool { return podFactsOf(o).stopped }

// PodUnschedulable is the message with which the scheduler last refused a pod
// that it has not placed since; empty if there is none.
func PodUnschedulable(o *Object) string { return podFactsOf(o).unschedulable }

// PodReady reports whether a pod is ready, and since when.
func PodReady(o *Object) (ready bool, since time.Time) {
	p := podFactsOf(o)
	if p.reported != nil {
		return reportedReady(p.reported)
	}
	return p.ready, p.readyAt
}

// PodMatured reports whether it was recorded that a pod has been ready for its
// owner's minReadySeconds.
func PodMatured(o *Object) bool { return podFactsOf(o).matured }

// PodPhase is a pod's phase.
func PodPhase(o *Object) corev1.PodPhase {
	p := podFactsOf(o)
	if p.reported != nil && p.startedAt.IsZero() {
		return p.reported.Phase
	}
	return p.phase(o.half.shape())
}

// PodFinished reports whether a pod ran to its end: Succeeded or Failed.
func PodFinished(o *Object) bool {
	phase := PodPhase(o)
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

// PodActive reports whether a pod counts as a replica: not finished and not
// being deleted.
func PodActive(o *Object) bool { return !o.Deleting() && !PodFinished(o) }

func (p podFacts) apply(o *Object, v runtime.Object) {
	pod, ok := v.(*corev1.Pod)
	if !ok {
		return
	}
	if p.reported != nil {
		pod.Status = *p.reported.DeepCopy()
		if p.startedAt.IsZero() {
			return
		}
	}
	pod.Status = p.status(o, &pod.Spec)
}
