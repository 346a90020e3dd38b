package lifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// New is the state of a pod of which nothing is known but what is wanted.
func New(pod *corev1.Pod, now time.Time) State {
	s := State{Pod: pod}
	for _, c := range pod.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		s.Containers = append(s.Containers, Container{Name: c.Name, Image: c.Image, Init: !sidecar, Sidecar: sidecar})
	}
	for _, c := range pod.Spec.Containers {
		s.Containers = append(s.Containers, Container{Name: c.Name, Image: c.Image})
	}
	return Want(s, pod, now)
}

// Want folds what the feed says of the pod. The end of a pod can only be moved
// to an earlier time, never called off.
func Want(s State, pod *corev1.Pod, now time.Time) State {
	s = s.clone()
	s.Pod = pod
	if pod.DeletionTimestamp != nil {
		s.endBy(now.Add(s.grace()))
		return s
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		spec := s.spec(c.Name)
		if spec == nil || spec.Image == c.Image {
			continue
		}
		c.Image, c.Fetch, c.Start = spec.Image, Image{}, Try{}
		c.Replace = c.Phase == Running
	}
	return s
}

// Forget folds that the pod is no more: nobody waits for its containers.
func Forget(s State, now time.Time) State {
	s = s.clone()
	s.endBy(now.Add(min(goneGrace, s.grace())))
	return s
}

// Inputs folds that ConfigMaps or Secrets are different, so that a container
// that failed for want of one may be tried again at once.
func Inputs(s State) State {
	s = s.clone()
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Start.Inputs {
			c.Start.At, c.Start.Failures = time.Time{}, 0
		}
	}
	return s
}

func (s *State) endBy(deadline time.Time) {
	s.Stop.Wanted = true
	s.Stop.Deadline = earlier(s.Stop.Deadline, deadline)
	for i := range s.Containers {
		if c := &s.Containers[i]; !c.KillAt.IsZero() {
			c.KillAt = earlier(c.KillAt, s.Stop.Deadline)
		}
	}
}
