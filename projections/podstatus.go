package projections

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// status is the Kubernetes status of a pod that was observed as p.
func (p podFacts) status(o *Object, spec *corev1.PodSpec) corev1.PodStatus {
	s := corev1.PodStatus{
		InitContainerStatuses: p.statuses(spec.InitContainers, o.NodeName() != ""),
		ContainerStatuses:     p.statuses(spec.Containers, o.NodeName() != ""),
		QOSClass:              qosClass(spec),
	}
	shape := o.half.shape()
	s.Phase = p.phase(shape)
	if p.rejected != nil {
		s.Reason, s.Message = p.rejected.Reason, p.rejected.Message
	}
	if !p.startedAt.IsZero() {
		t := at(p.startedAt)
		s.StartTime = &t
	}
	for i, ip := range p.podIPs {
		if i == 0 {
			s.PodIP = ip
		}
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	for i, ip := range p.hostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
	}
	s.Conditions = p.conditions(o, shape)
	return s
}

// statuses lists the container statuses in the order of the spec. Before the
// node has said anything, a bound pod's containers wait to be created.
func (p podFacts) statuses(cs []corev1.Container, bound bool) []corev1.ContainerStatus {
	if !bound && len(p.containers) == 0 {
		return nil
	}
	var out []corev1.ContainerStatus
	for _, c := range cs {
		s := p.containers[c.Name].status
		s.Name = c.Name
		if s.Image == "" {
			s.Image = c.Image
		}
		if s.Started == nil {
			no := false
			s.Started = &no
		}
		if s.State == (corev1.ContainerState{}) {
			s.State = waiting(p.idleReason(), "")
		}
		out = append(out, s)
	}
	return out
}

func (p podFacts) idleReason() string {
	if p.startedAt.IsZero() || p.initialized {
		return "ContainerCreating"
	}
	return "PodInitializing"
}

// phase follows the kubelet: Pending until every container was started once,
// Running while one runs or will run again, then Succeeded or Failed.
func (p podFacts) phase(s podShape) corev1.PodPhase {
	if p.rejected != nil {
		return corev1.PodFailed
	}
	if p.failedToInitialize(s) {
		return corev1.PodFailed
	}
	running, stopped, succeeded := p.runs(s)
	switch {
	case !p.initialized && len(p.uninitialized(s)) > 0, running+stopped < len(s.containers):
		return corev1.PodPending
	case running > 0 || s.policy == corev1.RestartPolicyAlways && !p.stopped:
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	case s.policy == corev1.RestartPolicyNever || p.stopped:
		return corev1.PodFailed
	default:
		return corev1.PodRunning
	}
}

// failedToInitialize reports whether an init container failed for good.
func (p podFacts) failedToInitialize(s podShape) bool {
	return s.policy == corev1.RestartPolicyNever && slices.ContainsFunc(s.inits, func(c initShape) bool {
		t := p.containers[c.name].status.State.Terminated
		return t != nil && t.ExitCode != 0 && !c.sidecar
	})
}

// runs counts the containers that run, that have run and do not run now, and
// among these the ones that ended well.
func (p podFacts) runs(shape podShape) (running, stopped, succeeded int) {
	for _, name := range shape.containers {
		s := p.containers[name].status
		switch {
		case s.State.Running != nil:
			running++
		case s.State.Terminated != nil:
			stopped++
			if s.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case s.LastTerminationState.Terminated != nil:
			stopped++
		}
	}
	return running, stopped, succeeded
}

func (p podFacts) conditions(o *Object, shape podShape) []corev1.PodCondition {
	if o.NodeName() == "" {
		if p.unschedulable == "" {
			return nil
		}
		return []corev1.PodCondition{condition(corev1.PodScheduled, false, p.refusedAt, corev1.PodReasonUnschedulable, p.unschedulable)}
	}
	scheduledAt := p.scheduledAt
	if scheduledAt.IsZero() {
		scheduledAt = o.half.created()
	}
	out := []corev1.PodCondition{
		condition(corev1.PodReadyToStartContainers, !p.startedAt.IsZero() && !p.stopped, latest(p.startedAt, scheduledAt), "", ""),
		p.initCondition(shape, scheduledAt),
	}
	reason, message := "", ""
	if !p.ready {
		reason, message = "ContainersNotReady", "containers with unready status: ["+strings.Join(p.unready(shape), " ")+"]"
		switch p.phase(shape) {
		case corev1.PodSucceeded:
			reason, message = "PodCompleted", ""
		case corev1.PodFailed:
			reason, message = "PodFailed", ""
		}
	}
	since := latest(p.readyAt, scheduledAt)
	return append(out,
		condition(corev1.PodReady, p.ready, since, reason, message),
		condition(corev1.ContainersReady, p.ready, since, reason, message),
		condition(corev1.PodScheduled, true, scheduledAt, "", ""))
}

func (p podFacts) initCondition(shape podShape, scheduledAt time.Time) corev1.PodCondition {
	if p.initialized || len(shape.inits) == 0 {
		return condition(corev1.PodInitialized, true, latest(p.initAt, scheduledAt), "", "")
	}
	return condition(corev1.PodInitialized, false, scheduledAt, "ContainersNotInitialized",
		"containers with incomplete status: ["+strings.Join(p.uninitialized(shape), " ")+"]")
}

// uninitialized names the init containers that the others still wait for: those
// that have not ended well, and sidecars (KEP-753) that have not started.
func (p podFacts) uninitialized(shape podShape) []string {
	var left []string
	for _, c := range shape.inits {
		s := p.containers[c.name].status
		done := s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		if c.sidecar {
			done = s.Started != nil && *s.Started
		}
		if !done {
			left = append(left, c.name)
		}
	}
	return left
}

func (p podFacts) unready(shape podShape) []string {
	var names []string
	for _, name := range shape.containers {
		if !p.containers[name].status.Ready {
			names = append(names, name)
		}
	}
	return names
}

func condition(t corev1.PodConditionType, is bool, since time.Time, reason, message string) corev1.PodCondition {
	s := corev1.ConditionFalse
	if is {
		s = corev1.ConditionTrue
	}
	return corev1.PodCondition{Type: t, Status: s, LastTransitionTime: at(since), Reason: reason, Message: message}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// qosClass is the pod's quality of service as upstream computes it (KEP-2837
// pod-level resources aside).
func qosClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	guaranteed, burstable := true, false
	for _, c := range append(append([]corev1.Container{}, spec.InitContainers...), spec.Containers...) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, asked := c.Resources.Requests[name]
			limit, limited := c.Resources.Limits[name]
			burstable = burstable || asked && !request.IsZero() || limited && !limit.IsZero()
			if !limited || limit.IsZero() || asked && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !burstable:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

// reportedStatus is [events.StatusReported] with the status kept as it is.
type reportedStatus struct {
	UID    string          `json:"uid"`
	Status json.RawMessage `json:"status"`
}

func reportedReady(s *corev1.PodStatus) (bool, time.Time) {
	for _, c := range s.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
		}
	}
	return false, time.Time{}
}
