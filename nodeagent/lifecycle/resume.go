package lifecycle

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/nodeagent/runtime"
)

// Resume is the state of a pod as the log knows it: what was wanted and recorded
// before the agent was started. last is the last event that this node recorded
// of the pod, the zero value if there is none. What the runtime knows has to be
// folded by [Seen] before anything is decided.
func Resume(pod *corev1.Pod, last events.Recorded, now time.Time) State {
	s := New(pod, now)
	for _, ip := range pod.Status.PodIPs {
		s.Sandbox.Recorded = append(s.Sandbox.Recorded, ip.IP)
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for _, status := range list {
				if status.Name == c.Name {
					c.resume(status)
				}
			}
		}
	}
	s.recall(last, now)
	return s
}

// resume takes over what was recorded of a container.
func (c *Container) resume(status corev1.ContainerStatus) {
	c.Attempt = int(status.RestartCount)
	c.ID = bareID(status.ContainerID)
	if _, digest, ok := strings.Cut(status.ImageID, "@"); ok {
		c.Fetch.Digest = digest
	}
	last := status.LastTerminationState.Terminated
	switch {
	case status.State.Running != nil:
		c.Phase, c.StartedAt = Running, status.State.Running.StartedAt.Time
		c.Replace = status.Image != "" && status.Image != c.Image
	case status.State.Terminated != nil:
		c.ended(status.State.Terminated)
	case last != nil:
		c.ended(last)
		last = nil
	default:
		return
	}
	if last != nil && !c.StartedAt.IsZero() {
		c.Crashes = steps(c.StartedAt.Sub(last.FinishedAt.Time)) + 1
	}
	if c.Phase == Exited {
		if waiting := status.State.Waiting; waiting != nil {
			c.Crashes = steps(announced(waiting.Message))
		}
		c.putOff()
	}
}

func (c *Container) ended(t *corev1.ContainerStateTerminated) {
	c.Phase, c.ExitCode = Exited, int(t.ExitCode)
	c.StartedAt, c.FinishedAt = t.StartedAt.Time, t.FinishedAt.Time
	if c.StartedAt.IsZero() { // its command could not be started
		c.StartedAt = c.FinishedAt
	}
	if c.FinishedAt.Before(c.StartedAt) {
		c.FinishedAt = c.StartedAt
	}
	if id := bareID(t.ContainerID); id != "" {
		c.ID = id
	}
}

// bareID takes the scheme off a container's id: "containerd://4f…".
func bareID(id string) string {
	if _, bare, ok := strings.Cut(id, "://"); ok {
		return bare
	}
	return id
}

// steps is how often in a row a container has been started again if the last
// start was put off by d: the inverse of [RestartDelay]. A pause of the agent
// makes it larger than it was; it is then capped.
func steps(d time.Duration) int {
	n := 0
	for d >= RestartDelay(n+1) && RestartDelay(n) < maxDelay {
		n++
	}
	return n
}

// announced reads the delay out of the message of a back-off.
func announced(message string) time.Duration {
	var written string
	if _, err := fmt.Sscanf(message, "back-off %s restarting", &written); err != nil {
		return 0
	}
	d, err := time.ParseDuration(written)
	if err != nil {
		return 0
	}
	return d
}

// recall takes over what the last event says and the status does not show.
func (s *State) recall(last events.Recorded, now time.Time) {
	switch last.Type {
	case events.PodRejected:
		s.Rejected = true
	case events.PodStopped:
		s.Stopped, s.Stop.Recorded = true, true
	case events.PodStopping:
		s.stopWasRecorded(now)
	case events.ContainerExited:
		// A container that ended after the deletion was asked for was told to.
		if s.Stop.Wanted && last.Time.After(s.askedAt()) {
			s.stopWasRecorded(now)
		}
	case events.ImagePulled:
		recallData(s, last, func(c *Container, p events.Pulled) { c.Fetch.Digest = p.Digest })
	case events.ImagePullFailed:
		recallData(s, last, func(c *Container, p events.PullFailed) {
			c.Fetch.Try = Try{Failures: 1, At: p.RetryAt, Never: p.RetryAt.IsZero(), Recorded: p.Reason + p.Message}
		})
	case events.ContainerStartFailed:
		recallData(s, last, func(c *Container, p events.StartFailed) {
			if p.Attempt == c.next() && c.Phase == Waiting {
				c.Start = Try{Failures: 1, At: p.RetryAt, Inputs: p.Reason == runtime.ReasonConfig, Recorded: p.Reason + p.Message}
			}
		})
	}
}

func recallData[T any](s *State, last events.Recorded, fold func(*Container, T)) {
	var name struct {
		Container string `json:"container"`
	}
	var data T
	if json.Unmarshal(last.Data, &name) != nil || json.Unmarshal(last.Data, &data) != nil {
		return
	}
	if c := s.find(name.Container); c != nil {
		fold(c, data)
	}
}

// stopWasRecorded goes on with a stop that was begun before: its deadline is the
// one that the deletion has set.
func (s *State) stopWasRecorded(now time.Time) {
	s.Stop.Recorded = true
	if at := s.Pod.DeletionTimestamp; at != nil {
		deadline := at.Time
		if deadline.Before(now) {
			deadline = now
		}
		s.endBy(deadline)
	}
}

// askedAt is when the deletion was asked for.
func (s State) askedAt() time.Time {
	if s.Pod.DeletionTimestamp == nil {
		return time.Time{}
	}
	return s.Pod.DeletionTimestamp.Add(-s.grace())
}

// Orphan is the state of a pod that the runtime has and nobody wants: it ends.
func Orphan(p runtime.PodState, now time.Time) State {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.Pod.Namespace, Name: p.Pod.Name, UID: types.UID(p.Pod.UID)}}
	s := State{Pod: pod}
	for _, r := range p.Containers {
		c := s.find(r.Name)
		if c == nil {
			s.Containers = append(s.Containers, Container{Name: r.Name})
			c = &s.Containers[len(s.Containers)-1]
		}
		c.Attempt, c.ID, c.StartedAt, c.FinishedAt = r.Attempt, r.ID, r.StartedAt, r.FinishedAt
		c.Phase = Running // whether it still does is for Seen to say
	}
	if p.Sandbox != nil {
		s.Sandbox = Sandbox{Ready: true, Recorded: p.Sandbox.IPs}
	}
	return Forget(s, now)
}
