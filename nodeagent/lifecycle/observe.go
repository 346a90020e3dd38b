package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"periplus.dev/events"
	"periplus.dev/nodeagent/image"
	"periplus.dev/nodeagent/runtime"
)

// Outcome is how an action ended. Err is nil if it did what was asked;
// otherwise an error of package runtime, or a context error if it was given up.
type Outcome struct {
	Action Action
	At     time.Time
	Err    error

	Sandbox   runtime.Sandbox   // CreateSandbox
	Found     bool              // Look
	Image     runtime.Image     // Look, Pull
	Took      time.Duration     // Pull
	Container runtime.Container // Start
}

// Observe returns the state after an outcome and the facts to record, if any.
// An outcome of an earlier step changes nothing.
func Observe(s State, o Outcome) (State, []Fact) {
	if o.Action.Step != s.Step || o.Action.Kind == Wait || s.Stopped {
		return s, nil
	}
	s = s.clone()
	s.Step++
	switch o.Action.Kind {
	case CreateSandbox:
		return s, s.sandboxed(o)
	case RemoveSandbox:
		return s, s.removed(o)
	default:
	}
	c := s.find(o.Action.Container)
	if c == nil {
		return s, nil
	}
	return s, s.observe(c, o)
}

// observe folds the outcome of an action on one container.
func (s *State) observe(c *Container, o Outcome) []Fact {
	if (o.Action.Kind == Look || o.Action.Kind == Pull) && o.Action.Image != c.Image {
		return nil // another image is wanted by now
	}
	switch o.Action.Kind {
	case Look:
		return s.looked(c, o)
	case Pull:
		return s.pulled(c, o)
	case Start:
		return s.started(c, o)
	case Remove:
		if o.Err == nil && len(c.Old) > 0 && c.Old[0] == o.Action.ID {
			c.Old = c.Old[1:]
		} else if len(c.Old) > 0 {
			c.Old = append(c.Old[1:], c.Old[0]) // the removal of the pod will have to do
		}
	default:
	}
	return nil // a signal that could not be sent is repeated when its time is up
}

func (s *State) sandboxed(o Outcome) []Fact {
	switch {
	case o.Err == nil:
		return s.housed(o.Sandbox, o.At)
	case givenUp(o.Err):
		return nil
	case errors.Is(o.Err, runtime.ErrUnsupported), errors.Is(o.Err, runtime.ErrInvalid):
		_, message := describe(o.Err, runtime.ReasonSandbox)
		return s.reject("UnsupportedPod", message, o.At)
	}
	try := Try{Failures: s.Sandbox.Failures}
	try.failed(o.At, delayFor(o.Err))
	s.Sandbox.Failures, s.Sandbox.RetryAt = try.Failures, try.At
	reason, message := describe(o.Err, runtime.ReasonSandbox)
	if errors.Is(o.Err, runtime.ErrTemporary) || s.Sandbox.Failure == reason+message || len(s.Containers) == 0 {
		return nil
	}
	s.Sandbox.Failure = reason + message
	c := s.Containers[0]
	return []Fact{fact(o.At, events.ContainerStartFailed, c.Name, events.StartFailed{
		UID: s.uid(), Container: c.Name, Attempt: c.next(), Reason: reason, Message: message, At: o.At, RetryAt: try.At,
	})}
}

// housed folds that there is a sandbox, and says so if its addresses are news.
func (s *State) housed(b runtime.Sandbox, now time.Time) []Fact {
	news := len(s.Sandbox.Recorded) == 0 || !slices.Equal(s.Sandbox.Recorded, b.IPs)
	s.Sandbox = Sandbox{Ready: true, Anew: s.Sandbox.Anew, Recorded: b.IPs}
	if !news {
		return nil
	}
	at := b.CreatedAt
	if at.IsZero() {
		at = now
	}
	return []Fact{fact(at, events.PodSandboxCreated, "", events.SandboxCreated{UID: s.uid(), PodIPs: b.IPs, HostIPs: s.HostIPs})}
}

// unhoused folds that there is no sandbox, whatever there was.
func (s *State) unhoused() {
	lost := s.Sandbox.Ready || len(s.Sandbox.Recorded) > 0
	s.Sandbox.Ready, s.Sandbox.Recorded = false, nil
	if !lost {
		return
	}
	s.Sandbox.Anew = true
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Init && c.Phase == Exited {
			c.Phase, c.Attempt, c.Crashes, c.NotBefore = Waiting, c.next(), 0, time.Time{}
			c.Fetch.Ready, c.Fetch.Missing = false, false
		}
	}
}

// Reject folds that the node cannot run the pod, ever.
func Reject(s State, reason, message string, now time.Time) (State, []Fact) {
	s = s.clone()
	return s, s.reject(reason, message, now)
}

func (s *State) reject(reason, message string, at time.Time) []Fact {
	if s.Rejected || s.Stopped {
		return nil
	}
	s.Rejected = true
	return []Fact{fact(at, events.PodRejected, "", events.Rejected{UID: s.uid(), Reason: reason, Message: message})}
}

func (s *State) looked(c *Container, o Outcome) []Fact {
	switch {
	case givenUp(o.Err):
		return nil
	case errors.Is(o.Err, runtime.ErrTemporary):
		c.Fetch.Try.failed(o.At, soonDelay)
		return nil
	case o.Err != nil:
		return s.notPulled(c, o, "ImageInspectError")
	case o.Found:
		o.Image.Present = true
		return s.fetched(c, o)
	case s.verdict(*c, false) == image.Refuse:
		o.Err = &runtime.Error{Reason: runtime.ReasonNeverPull, Message: "Container image \"" + c.Image + "\" is not present with pull policy of Never"}
		return s.notPulled(c, o, runtime.ReasonNeverPull)
	}
	c.Fetch.Missing = true
	return nil
}

func (s *State) pulled(c *Container, o Outcome) []Fact {
	switch {
	case givenUp(o.Err):
		return nil
	case o.Err != nil:
		return s.notPulled(c, o, runtime.ReasonPull)
	}
	return s.fetched(c, o)
}

// fetched notes that the image is there, and says so if that is news.
func (s *State) fetched(c *Container, o Outcome) []Fact {
	news := c.Fetch.Digest != o.Image.Digest || c.Fetch.Digest == "" || c.Fetch.Try.Recorded != ""
	c.Fetch = Image{Ready: true, Digest: o.Image.Digest}
	if !news {
		return nil
	}
	return []Fact{fact(o.At, events.ImagePulled, c.Name, events.Pulled{
		UID: s.uid(), Container: c.Name, Image: c.Image, Digest: o.Image.Digest, Bytes: o.Image.Bytes,
		Millis: o.Took.Milliseconds(), AlreadyPresent: o.Image.Present,
	})}
}

// notPulled puts the next try off, further each time, and says so each time.
func (s *State) notPulled(c *Container, o Outcome, otherwise string) []Fact {
	reason, message := describe(o.Err, otherwise)
	c.Fetch.Try.failed(o.At, firstDelay)
	c.Fetch.Try.Recorded = reason + message
	c.Fetch.Missing = false
	failed := events.PullFailed{UID: s.uid(), Container: c.Name, Image: c.Image, Reason: reason, Message: message, RetryAt: c.Fetch.Try.At}
	if errors.Is(o.Err, runtime.ErrInvalidImage) {
		c.Fetch.Try.Never, failed.RetryAt = true, time.Time{}
	}
	return []Fact{fact(o.At, events.ImagePullFailed, c.Name, failed)}
}

func (s *State) removed(o Outcome) []Fact {
	if o.Err != nil {
		try := Try{Failures: s.Stop.Failures}
		try.failed(o.At, soonDelay)
		s.Stop.Failures, s.Stop.RetryAt = try.Failures, try.At
		return nil
	}
	var facts []Fact
	for i := range s.Containers {
		if c := &s.Containers[i]; c.Phase == Running {
			facts = append(facts, s.lost(c, o.At)...)
		}
	}
	s.Sandbox.Ready, s.Stopped = false, true
	return append(facts, fact(o.At, events.PodStopped, "", events.Stopped{UID: s.uid()}))
}

// maxMessage bounds what a fact says in words.
const maxMessage = 4 << 10

// describe names an outcome for people, see [runtime.Describe], in a few words.
func describe(err error, otherwise string) (reason, message string) {
	reason, message = runtime.Describe(err, otherwise)
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "")
	}
	return reason, message
}

// givenUp reports whether an action did not end but was broken off because its
// outcome was no longer wanted.
func givenUp(err error) bool { return errors.Is(err, context.Canceled) }

func delayFor(err error) time.Duration {
	if errors.Is(err, runtime.ErrTemporary) {
		return soonDelay
	}
	return firstDelay
}
