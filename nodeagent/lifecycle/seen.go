package lifecycle

import (
	"cmp"
	"slices"
	"time"

	"periplus.dev/nodeagent/runtime"
)

// Seen folds what the runtime has of the pod: nil if nothing. It must have been
// asked after the last action that was observed had ended. The facts tell what
// the log does not know yet: an exit that happened while nobody looked comes
// with its real time.
func Seen(s State, p *runtime.PodState, now time.Time) (State, []Fact) {
	if s.Stopped {
		return s, nil
	}
	s = s.clone()
	if p == nil {
		p = &runtime.PodState{}
	}
	var facts []Fact
	if p.Sandbox != nil {
		facts = s.housed(*p.Sandbox, now)
	}
	for i := range s.Containers {
		facts = append(facts, s.see(&s.Containers[i], p.Containers, now)...)
	}
	if p.Sandbox == nil {
		s.unhoused()
	}
	return s, facts
}

// see folds the attempts of one container, the oldest first.
func (s *State) see(c *Container, all []runtime.ContainerState, now time.Time) []Fact {
	var attempts []runtime.ContainerState
	for _, r := range all {
		if r.Name == c.Name {
			attempts = append(attempts, r)
		}
	}
	slices.SortFunc(attempts, func(a, b runtime.ContainerState) int { return cmp.Compare(a.Attempt, b.Attempt) })
	var facts []Fact
	there := false
	for _, r := range attempts {
		if c.Phase == Running && r.Attempt > c.Attempt && !there {
			facts = append(facts, s.lost(c, now)...) // a later one was started, so it cannot run any more
		}
		there = there || r.Attempt == c.Attempt
		facts = append(facts, s.seeAttempt(c, r, now)...)
		there = there || r.Attempt == c.Attempt
	}
	if c.Phase == Running && !there {
		facts = append(facts, s.lost(c, now)...)
	}
	return facts
}

func (s *State) seeAttempt(c *Container, r runtime.ContainerState, now time.Time) []Fact {
	if r.Phase == runtime.Created || r.Phase == runtime.Unknown {
		return nil // StartContainer goes on with it; or it will be known later
	}
	if r.Attempt < c.Attempt || c.Phase == Exited && r.Attempt == c.Attempt {
		c.supersede(r.ID)
		return nil
	}
	facts := s.running(c, r.Container, c.Image)
	if !r.StartedAt.IsZero() {
		c.StartedAt = r.StartedAt // the log's may be cut to seconds
	}
	switch r.Phase {
	case runtime.Lost:
		return append(facts, s.lost(c, now)...)
	case runtime.Exited:
		return append(facts, s.exited(c, ending(r), now)...)
	default:
		return facts
	}
}

// supersede notes an earlier attempt that is still there.
func (c *Container) supersede(id string) {
	if id != "" && id != c.ID && !slices.Contains(c.Old, id) {
		c.Old = append(c.Old, id)
	}
}

func ending(r runtime.ContainerState) end {
	e := end{code: r.ExitCode, reason: "Error", at: r.FinishedAt}
	switch {
	case r.OOMKilled:
		e.reason = "OOMKilled"
	case r.ExitCode == 0:
		e.reason = "Completed"
	}
	return e
}
