package lifecycle

import (
	"time"

	"periplus.dev/events"
)

// Begin folds that an action is under way, and returns the facts that are true
// from then on. It is to be called once before each performance.
func Begin(s State, a Action, now time.Time) (State, []Fact) {
	if a.Step != s.Step {
		return s, nil
	}
	s = s.clone()
	c := s.find(a.Container)
	var facts []Fact
	switch {
	case a.Kind == Pull && c != nil:
		if c.Fetch.Digest == "" && c.Fetch.Try.Failures == 0 {
			facts = append(facts, fact(now, events.ImagePullStarted, c.Name, events.PullStarted{UID: s.uid(), Container: c.Name, Image: a.Image}))
		}
	case a.Kind == Term && c != nil:
		facts = s.stopping(now)
		c.KillAt = earlier(now.Add(s.grace()), s.Stop.Deadline)
	case a.Kind == Kill && c != nil:
		facts = s.stopping(now)
		c.KillAt, c.KilledAt = earlier(now, c.KillAt), now
	}
	return s, facts
}

// stopping says, once, that the pod's containers are told to end because the
// pod is to go.
func (s *State) stopping(now time.Time) []Fact {
	if !s.Stop.Wanted || s.Stop.Recorded {
		return nil
	}
	s.Stop.Recorded = true
	left := max(s.Stop.Deadline.Sub(now), 0)
	return []Fact{fact(now, events.PodStopping, "", events.Stopping{UID: s.uid(), GraceSeconds: int64((left + time.Second - 1) / time.Second)})}
}

func fact(at time.Time, t events.Type, container string, data any) Fact {
	return Fact{Type: t, At: at, Container: container, Data: data}
}
