package lifecycle

import (
	"time"

	"periplus.dev/nodeagent/image"
)

// Kind is what an action does.
type Kind int

// The kinds of action. Each is safe to repeat.
const (
	Wait          Kind = iota // nothing
	CreateSandbox             // make the pod's surroundings
	Look                      // see whether an image is on the node
	Pull                      // fetch an image
	Start                     // make and start an attempt of a container
	Term                      // tell a container to end
	Kill                      // end a container
	Remove                    // remove what is left of an earlier attempt
	RemoveSandbox             // remove all that is left of the pod
)

var kinds = [...]string{
	Wait: "wait", CreateSandbox: "create sandbox", Look: "look up image", Pull: "pull image", Start: "start container",
	Term: "end container", Kill: "kill container", Remove: "remove container", RemoveSandbox: "remove sandbox",
}

// String is the kind's name.
func (k Kind) String() string { return kinds[k] }

// Action is one thing to do for a pod.
type Action struct {
	Kind      Kind
	Container string // the container's name; empty for the sandbox
	Attempt   int    // Start: which
	ID        string // Term, Kill, Remove: of the runtime's container
	Image     string // Look, Pull: as written in the pod
	Step      int    // the state's, for Observe
}

// Next names the one action that brings s closer to what is wanted, or Wait and
// the time at which to ask again if nothing is observed before; zero: never.
func Next(s State, now time.Time) (Action, time.Time) {
	a, wake := s.decide(now)
	a.Step = s.Step
	if a.Kind != Wait {
		return a, time.Time{}
	}
	return Action{}, wake
}

func (s State) decide(now time.Time) (Action, time.Time) {
	switch {
	case s.Stopped:
		return Action{}, time.Time{}
	case s.Stop.Wanted:
		return s.end(now)
	case s.Rejected:
		return Action{}, time.Time{}
	case s.Finished():
		return s.dismiss(now)
	case !s.Sandbox.Ready && now.Before(s.Sandbox.RetryAt):
		return Action{}, s.Sandbox.RetryAt
	case !s.Sandbox.Ready:
		return Action{Kind: CreateSandbox}, time.Time{}
	}
	return s.run(now)
}

// run brings up whichever containers have their turn.
func (s State) run(now time.Time) (Action, time.Time) {
	var wake time.Time
	initialised := s.initialised()
	for _, c := range s.Containers {
		if c.Init && (initialised || c.Phase == Exited && c.ExitCode == 0) {
			continue
		}
		a, again := s.bringUp(c, now)
		if a.Kind != Wait {
			return a, time.Time{}
		}
		wake = earlier(wake, again)
		if c.Init || c.Sidecar && c.Phase == Waiting && !initialised {
			return Action{}, wake // those behind it wait for it
		}
	}
	return s.tidy(), wake
}

// bringUp is the next step towards a running container.
func (s State) bringUp(c Container, now time.Time) (Action, time.Time) {
	switch {
	case c.Phase == Running && c.Replace:
		return s.endOne(c, now)
	case c.Phase == Running, c.Phase == Exited && !s.restarts(c):
		return Action{}, time.Time{}
	case now.Before(c.NotBefore):
		return Action{}, c.NotBefore
	case !c.Fetch.Ready:
		return s.fetch(c, now)
	case now.Before(c.Start.At):
		return Action{}, c.Start.At
	}
	return Action{Kind: Start, Container: c.Name, Attempt: c.next(), Image: c.Image}, time.Time{}
}

// fetch is the next step towards having the image.
func (s State) fetch(c Container, now time.Time) (Action, time.Time) {
	switch {
	case c.Fetch.Try.Never:
		return Action{}, time.Time{}
	case now.Before(c.Fetch.Try.At):
		return Action{}, c.Fetch.Try.At
	case c.Fetch.Missing || s.verdict(c, true) == image.Pull:
		return Action{Kind: Pull, Container: c.Name, Image: c.Image}, time.Time{}
	}
	return Action{Kind: Look, Container: c.Name, Image: c.Image}, time.Time{}
}

// verdict is what the pull policy says about an image that is, or is not, on
// the node.
func (s State) verdict(c Container, present bool) image.Verdict {
	var policy image.Policy
	if spec := s.spec(c.Name); spec != nil {
		policy = image.Policy(spec.ImagePullPolicy)
	}
	ref, err := image.Parse(c.Image)
	if err != nil {
		return image.Use // looking it up will say what is wrong with it
	}
	return image.Decide(policy, ref, present)
}

// tidy removes an attempt that a later one has replaced.
func (s State) tidy() Action {
	for _, c := range s.Containers {
		if len(c.Old) > 0 {
			return Action{Kind: Remove, Container: c.Name, ID: c.Old[0]}
		}
	}
	return Action{}
}

// dismiss ends the sidecars of a pod that has done its work.
func (s State) dismiss(now time.Time) (Action, time.Time) {
	var wake time.Time
	for _, c := range s.Containers {
		if c.Phase != Running {
			continue
		}
		a, again := s.endOne(c, now)
		if a.Kind != Wait {
			return a, time.Time{}
		}
		wake = earlier(wake, again)
	}
	return s.tidy(), wake
}

// end brings the pod down: first the containers, sidecars after the others, then
// all that is left.
func (s State) end(now time.Time) (Action, time.Time) {
	var wake time.Time
	waiting := false
	for _, sidecar := range []bool{false, true} {
		if waiting && now.Before(s.Stop.Deadline) {
			break
		}
		for _, c := range s.Containers {
			if c.Phase != Running || c.Sidecar != sidecar || c.deaf(now) {
				continue
			}
			a, again := s.endOne(c, now)
			if a.Kind != Wait {
				return a, time.Time{}
			}
			waiting, wake = true, earlier(wake, again)
		}
	}
	switch {
	case waiting:
		return Action{}, wake
	case now.Before(s.Stop.RetryAt):
		return Action{}, s.Stop.RetryAt
	}
	return Action{Kind: RemoveSandbox}, time.Time{}
}

// endOne tells one running container to end, and kills it when its time is up.
func (s State) endOne(c Container, now time.Time) (Action, time.Time) {
	deadline := c.KillAt
	if s.Stop.Wanted {
		deadline = earlier(deadline, s.Stop.Deadline)
	}
	switch {
	case !c.KilledAt.IsZero() && now.Before(c.KilledAt.Add(killDelay)):
		return Action{}, c.KilledAt.Add(killDelay)
	case !deadline.IsZero() && !now.Before(deadline), c.KillAt.IsZero() && s.grace() == 0:
		return Action{Kind: Kill, Container: c.Name, ID: c.ID}, time.Time{}
	case c.KillAt.IsZero():
		return Action{Kind: Term, Container: c.Name, ID: c.ID}, time.Time{}
	}
	return Action{}, deadline
}

// deaf reports whether a container was killed and has not been seen to exit in
// due time; the removal of the sandbox takes care of it.
func (c Container) deaf(now time.Time) bool {
	return !c.KilledAt.IsZero() && !now.Before(c.KilledAt.Add(killDelay))
}
