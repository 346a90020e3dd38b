package lifecycle

import (
	"errors"
	"fmt"
	"time"

	"periplus.dev/events"
	"periplus.dev/nodeagent/runtime"
)

// started folds the outcome of a start.
func (s *State) started(c *Container, o Outcome) []Fact {
	switch {
	case o.Err == nil:
		facts := s.running(c, o.Container, o.Action.Image)
		c.Replace = c.Replace || c.Phase == Running && o.Action.Image != c.Image
		return facts
	case givenUp(o.Err):
		return nil
	case errors.Is(o.Err, runtime.ErrNotFound):
		s.unhoused()
		c.Start.failed(o.At, soonDelay)
		return nil
	case errors.Is(o.Err, runtime.ErrImageNotFound):
		c.Fetch.Ready, c.Fetch.Missing = false, false
		c.Start.failed(o.At, soonDelay)
		return nil
	case errors.Is(o.Err, runtime.ErrTemporary):
		c.Start.failed(o.At, soonDelay)
		return nil
	}
	reason, message := describe(o.Err, runtime.ReasonCreate)
	if reason == runtime.ReasonStart || reason == runtime.ReasonRun {
		return s.neverRan(c, o, reason, message)
	}
	return s.notMade(c, o, reason, message)
}

// notMade folds that the attempt could not be made; the same one is tried again.
func (s *State) notMade(c *Container, o Outcome, reason, message string) []Fact {
	c.Start.failed(o.At, firstDelay)
	c.Start.Inputs = reason == runtime.ReasonConfig
	if c.Start.Recorded == reason+message {
		return nil
	}
	c.Start.Recorded = reason + message
	return []Fact{fact(o.At, events.ContainerStartFailed, c.Name, events.StartFailed{
		UID: s.uid(), Container: c.Name, Attempt: o.Action.Attempt, Reason: reason, Message: message, At: o.At, RetryAt: c.Start.At,
	})}
}

// neverRan folds that the attempt was made but its command could not be
// started: it is over, as if it had exited.
func (s *State) neverRan(c *Container, o Outcome, reason, message string) []Fact {
	if o.Action.Attempt < c.next() {
		return nil
	}
	code := 128
	if named := (*runtime.Error)(nil); errors.As(o.Err, &named) && named.ExitCode != 0 {
		code = named.ExitCode
	}
	c.Phase, c.Attempt, c.ID, c.ExitCode = Exited, o.Action.Attempt, "", code
	c.StartedAt, c.FinishedAt = o.At, o.At
	c.Start, c.Fetch.Ready, c.Fetch.Missing = Try{}, false, false
	delay := c.putOff()
	failed := events.StartFailed{UID: s.uid(), Container: c.Name, Attempt: c.Attempt, Reason: reason, Message: message, ExitCode: code, At: o.At, RetryAt: c.NotBefore}
	if !s.restarts(*c) {
		failed.RetryAt = time.Time{}
	}
	return append([]Fact{fact(o.At, events.ContainerStartFailed, c.Name, failed)}, s.backingOff(c, delay, o.At)...)
}

// running folds that an attempt runs, or ran.
func (s *State) running(c *Container, r runtime.Container, image string) []Fact {
	if r.Attempt < c.next() || r.Attempt == c.Attempt && c.Phase != Waiting {
		return nil
	}
	c.Phase, c.Attempt, c.ID, c.StartedAt = Running, r.Attempt, r.ID, r.StartedAt
	c.FinishedAt, c.ExitCode, c.NotBefore = time.Time{}, 0, time.Time{}
	c.Start, c.Replace, c.KillAt, c.KilledAt = Try{}, false, time.Time{}, time.Time{}
	if !c.Init && !c.Sidecar {
		s.Sandbox.Anew = false
	}
	return []Fact{fact(r.StartedAt, events.ContainerStarted, c.Name, events.Started{
		UID: s.uid(), Container: c.Name, ID: r.ID, Attempt: r.Attempt, Image: image, ImageID: r.ImageID, At: r.StartedAt, Ready: true,
	})}
}

// end says how an attempt ended.
type end struct {
	code    int
	reason  string
	message string
	at      time.Time
}

// exited folds that the running attempt is over, and when the next one may
// start.
func (s *State) exited(c *Container, e end, now time.Time) []Fact {
	if e.at.Before(c.StartedAt) {
		e.at = c.StartedAt
	}
	c.Phase, c.ExitCode, c.FinishedAt = Exited, e.code, e.at
	c.Fetch.Ready, c.Fetch.Missing, c.Fetch.Try = false, false, Try{}
	facts := []Fact{fact(e.at, events.ContainerExited, c.Name, events.Exited{
		UID: s.uid(), Container: c.Name, ID: c.ID, Attempt: c.Attempt, ExitCode: e.code, Reason: e.reason, Message: e.message,
		StartedAt: c.StartedAt, FinishedAt: e.at,
	})}
	if c.Replace { // it was told to end; it did not crash
		c.Crashes, c.NotBefore = 0, time.Time{}
		return facts
	}
	return append(facts, s.backingOff(c, c.putOff(), now)...)
}

// lost folds that the running attempt is over and nobody knows how it ended.
func (s *State) lost(c *Container, now time.Time) []Fact {
	return s.exited(c, end{
		code: 137, reason: "ContainerStatusUnknown", at: now,
		message: "The container was gone when its node looked for it.",
	}, now)
}

// putOff sets when an exited container may start again and returns how long
// after its exit that is.
func (c *Container) putOff() time.Duration {
	if c.FinishedAt.Sub(c.StartedAt) >= calm {
		c.Crashes = 0
	}
	delay := RestartDelay(c.Crashes)
	c.NotBefore = c.FinishedAt.Add(delay)
	c.Crashes++
	return delay
}

// backingOff says that the next start is put off, if it is.
func (s *State) backingOff(c *Container, delay time.Duration, now time.Time) []Fact {
	if delay == 0 || s.Stop.Wanted || !s.restarts(*c) || s.Finished() || !now.Before(c.NotBefore) {
		return nil
	}
	return []Fact{fact(now, events.ContainerBackingOff, c.Name, events.BackingOff{
		UID: s.uid(), Container: c.Name, Attempt: c.next(), Until: c.NotBefore,
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", Short(delay), c.Name, s.Pod.Name, s.Pod.Namespace, s.Pod.UID),
	})}
}

// Short writes a delay of whole seconds as Kubernetes does: "10s", "2m40s".
func Short(d time.Duration) string { return d.Round(time.Second).String() }
