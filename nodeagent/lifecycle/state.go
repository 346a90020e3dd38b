package lifecycle

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
)

// State is what the agent knows of one pod.
type State struct {
	Pod        *corev1.Pod // as the feed told it last; never changed here
	HostIPs    []string    // of the node
	Containers []Container // init containers in order, then the others in order
	Sandbox    Sandbox
	Stop       Stop
	Rejected   bool // the node cannot run it, and has said so
	Stopped    bool // nothing of it is left on the node, and that was said
	Step       int  // counts the actions that were observed; an outcome of an older step is ignored
}

// Sandbox is what the pod's containers share.
//
//	absent -CreateSandbox-> ready -lost-> absent
type Sandbox struct {
	Ready    bool
	Anew     bool     // an earlier one was lost and nothing has been run in this one: init containers run again
	Recorded []string // the addresses that were recorded last
	Failures int      // in a row
	RetryAt  time.Time
	Failure  string // reason and message that were recorded last
}

// Stop is how far the end of the pod has come.
type Stop struct {
	Wanted   bool      // the pod is to go
	Deadline time.Time // when what still runs is killed
	Recorded bool      // that its containers were told to end
	Failures int       // of the removal, in a row
	RetryAt  time.Time
}

// Phase is where a container stands.
//
//	Waiting -Start-> Running -exit-> Exited -Start-> Running
//	Waiting -Start fails for good-> Exited
type Phase int

// The phases of a container.
const (
	Waiting Phase = iota // it has not been started yet
	Running
	Exited // the last attempt is over; whether there is another is for the restart policy
)

var phases = [...]string{Waiting: "Waiting", Running: "Running", Exited: "Exited"}

// String is the phase's name.
func (p Phase) String() string { return phases[p] }

// Container is what the agent knows of one container of the pod.
type Container struct {
	Name    string
	Image   string // as written in the pod
	Init    bool   // an init container that has to end before the next one starts
	Sidecar bool   // an init container that goes on running beside the others

	Phase      Phase
	Attempt    int // Waiting: the one to be started; otherwise the one that Phase speaks of
	ID         string
	StartedAt  time.Time
	FinishedAt time.Time
	ExitCode   int
	Replace    bool     // it runs an image that is no longer the wanted one
	Old        []string // ids of earlier attempts that may be removed

	Crashes   int       // how often in a row it has been started again
	NotBefore time.Time // the next start is put off until then

	Fetch Image // the image for the next start
	Start Try   // failures to make the next attempt

	KillAt   time.Time // told to end; it is killed then
	KilledAt time.Time
}

// Image says whether a container's image is there for its next start.
type Image struct {
	Ready   bool
	Missing bool   // it was looked for and is not on the node
	Digest  string // the one that was recorded last
	Try     Try
}

// Try counts failures in a row of something that is tried again.
type Try struct {
	Failures int
	At       time.Time // not before; zero: at once
	Never    bool      // it cannot succeed as things are
	Inputs   bool      // it failed for want of a ConfigMap or Secret, which may come at any time
	Recorded string    // reason and message that were recorded last
}

// Fact is a transition to be recorded about the pod.
type Fact struct {
	Type      events.Type
	At        time.Time // when it happened
	Container string    // empty: the pod as a whole
	Data      any       // a payload of package events
}

// Deletion reports whether the pod is to go.
func (s State) Deletion() bool { return s.Stop.Wanted }

// Valid checks the invariants in the package comment that can be seen in a
// single state.
func (s State) Valid() error {
	for _, c := range s.Containers {
		switch {
		case c.Attempt < 0:
			return fmt.Errorf("container %s: attempt %d", c.Name, c.Attempt)
		case c.Phase == Exited && c.FinishedAt.IsZero():
			return fmt.Errorf("container %s: exited at no time", c.Name)
		case c.Phase == Exited && c.FinishedAt.Before(c.StartedAt):
			return fmt.Errorf("container %s: exited before it was started", c.Name)
		case c.Phase == Running && s.Stopped:
			return fmt.Errorf("container %s: runs in a stopped pod", c.Name)
		}
	}
	if s.Stopped && s.Sandbox.Ready {
		return fmt.Errorf("a stopped pod has a sandbox")
	}
	return nil
}

func (s State) uid() string { return string(s.Pod.UID) }

func (s State) clone() State {
	s.Containers = slices.Clone(s.Containers)
	for i := range s.Containers {
		s.Containers[i].Old = slices.Clone(s.Containers[i].Old)
	}
	return s
}

// find returns the container of a name within s, or nil.
func (s *State) find(name string) *Container {
	for i := range s.Containers {
		if s.Containers[i].Name == name {
			return &s.Containers[i]
		}
	}
	return nil
}

// spec returns what is wanted of a container, or nil if the pod has none of the
// name.
func (s State) spec(name string) *corev1.Container {
	for _, list := range [][]corev1.Container{s.Pod.Spec.InitContainers, s.Pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// next is the number of the attempt that would be started next.
func (c Container) next() int {
	if c.Phase == Exited {
		return c.Attempt + 1
	}
	return c.Attempt
}

// restarts reports whether an exited container is to be started again.
func (s State) restarts(c Container) bool {
	switch {
	case c.Phase != Exited:
		return false
	case c.Sidecar || c.Replace:
		return true
	}
	switch s.policy(c) {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return c.ExitCode != 0
	default:
		return !c.Init || c.ExitCode != 0
	}
}

// policy is the container's own restart policy or the pod's.
func (s State) policy(c Container) corev1.RestartPolicy {
	if spec := s.spec(c.Name); spec != nil && spec.RestartPolicy != nil {
		return corev1.RestartPolicy(*spec.RestartPolicy)
	}
	return s.Pod.Spec.RestartPolicy
}

// initialised reports whether the init containers have done their work: one of
// the others has been started.
func (s State) initialised() bool {
	return !s.Sandbox.Anew && slices.ContainsFunc(s.Containers, func(c Container) bool {
		return !c.Init && !c.Sidecar && (c.Phase != Waiting || c.Attempt > 0)
	})
}

// Finished reports whether all that the pod was to run is over: an init
// container failed for good, or every other container has exited and is not
// started again.
func (s State) Finished() bool {
	initialised, over := s.initialised(), true
	for _, c := range s.Containers {
		switch {
		case c.Init && !initialised && c.Phase == Exited && c.ExitCode != 0 && !s.restarts(c):
			return true
		case !c.Init && !c.Sidecar && (c.Phase != Exited || s.restarts(c)):
			over = false
		}
	}
	return over && len(s.Containers) > 0
}

// grace is how long the pod's containers have to end by themselves.
func (s State) grace() time.Duration {
	seconds := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if p := s.Pod.Spec.TerminationGracePeriodSeconds; p != nil {
		seconds = *p
	}
	if p := s.Pod.DeletionGracePeriodSeconds; s.Pod.DeletionTimestamp != nil && p != nil {
		seconds = *p
	}
	return time.Duration(max(seconds, 0)) * time.Second
}

// earlier is the earlier of two times, where zero stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
