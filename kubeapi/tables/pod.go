package tables

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func pod(p *corev1.Pod, now time.Time) []any {
	s := summarize(p)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.restarted.IsZero() {
		restarts += " (" + since(s.restarted, now) + " ago)"
	}
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", s.ready, s.total), s.status, restarts, since(p.CreationTimestamp, now),
		orNone(ip), orNone(p.Spec.NodeName), orNone(p.Status.NominatedNodeName), gates(p),
	}
}

// summary is what one line says of a pod.
type summary struct {
	status       string
	ready, total int
	restarts     int
	restarted    metav1.Time // last time a container ended and was started again
}

// summarize finds the word for a pod's state: the most telling of its phase, of
// what its containers are waiting for or ended with, and of its deletion.
func summarize(p *corev1.Pod) summary {
	s := summary{status: string(p.Status.Phase), total: len(p.Spec.Containers)}
	if p.Status.Reason != "" {
		s.status = p.Status.Reason
	}
	if c := condition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.status = corev1.PodReasonSchedulingGated
	}
	sidecars := map[string]bool{}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	initializing := s.addInit(p, sidecars)
	if c := condition(p, corev1.PodInitialized); !initializing || c != nil && c.Status == corev1.ConditionTrue {
		s.addContainers(p, sidecars)
	}
	terminal := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	switch {
	case p.DeletionTimestamp == nil:
	case p.Status.Reason == "NodeLost":
		s.status = "Unknown"
	case !terminal:
		s.status = "Terminating"
	}
	return s
}

// addInit counts init containers up to the first that is not done, which says
// how far initialization is.
func (s *summary) addInit(p *corev1.Pod, sidecars map[string]bool) (initializing bool) {
	for i, c := range p.Status.InitContainerStatuses {
		s.count(c)
		ended := c.State.Terminated
		if ended != nil && ended.ExitCode == 0 {
			continue
		}
		if sidecars[c.Name] && c.Started != nil && *c.Started {
			if c.Ready {
				s.ready++
			}
			continue
		}
		waiting := c.State.Waiting
		switch {
		case ended != nil:
			s.status = "Init:" + endWord(ended)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.status = "Init:" + waiting.Reason
		default:
			s.status = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

// addContainers starts the restart count anew, for of the init containers only
// sidecars go on counting, and lets the first container have the last word.
func (s *summary) addContainers(p *corev1.Pod, sidecars map[string]bool) {
	s.restarts, s.restarted = 0, metav1.Time{}
	for _, c := range p.Status.InitContainerStatuses {
		if sidecars[c.Name] {
			s.count(c)
		}
	}
	running := false
	for _, c := range slices.Backward(p.Status.ContainerStatuses) {
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.status = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.status = endWord(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.status != "Completed" || !running {
		return
	}
	s.status = "NotReady"
	if c := condition(p, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
		s.status = "Running"
	}
}

func (s *summary) count(c corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if last := c.LastTerminationState.Terminated; last != nil && s.restarted.Before(&last.FinishedAt) {
		s.restarted = last.FinishedAt
	}
}

// endWord is why a container ended: its reason, or the signal or exit code.
func endWord(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

func condition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func gates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	open := 0
	for _, g := range p.Spec.ReadinessGates {
		if c := condition(p, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(p.Spec.ReadinessGates))
}

func containers(list []corev1.Container) (names, images string) {
	var n, i []string
	for _, c := range list {
		n = append(n, c.Name)
		i = append(i, c.Image)
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}
