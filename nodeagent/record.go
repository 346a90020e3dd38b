package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"periplus.dev/events"
	"periplus.dev/nodeagent/lifecycle"
)

// entry is a fact on its way into the log.
type entry struct {
	fact     lifecycle.Fact
	desired  events.Ref       // of the pod, when the fact was found
	proposal *events.Proposal // once it was proposed; a retry proposes the very same
}

// chain is what one pod's facts hang on: the end of its subject, and the facts
// that later ones follow from. It is a value.
type chain struct {
	subject    events.Subject
	after      uint64
	found      events.Ref            // what this node had recorded of the pod last when the agent met it
	house      events.Ref            // the sandbox
	stopping   events.Ref            // the order to end
	containers map[string]events.Ref // the last fact of each container
}

func (c chain) clone() chain {
	c.containers = maps.Clone(c.containers)
	return c
}

// cause is the fact that led to another one: the request for what begins or ends
// a pod, and otherwise what happened to the same container before.
func (c chain) cause(e entry) events.Ref {
	switch e.fact.Type {
	case events.PodSandboxCreated, events.PodRejected, events.PodStopping:
		return first(e.desired, c.found)
	case events.PodStopped:
		return first(c.stopping, e.desired, c.found)
	case events.ContainerExited:
		return first(c.stopping, c.containers[e.fact.Container], c.found, c.house, e.desired)
	default:
		return first(c.containers[e.fact.Container], c.house, c.found, e.desired)
	}
}

func first(refs ...events.Ref) events.Ref {
	for _, r := range refs {
		if r.Seq != 0 {
			return r
		}
	}
	return events.Ref{}
}

// recorded is how far a recording has come.
type recorded struct {
	chain chain
	rest  []entry // what is not recorded yet
	err   error   // why not
}

// appendTimeout is how long an answer of the log is waited for; the outcome is
// unknown then.
const appendTimeout = 10 * time.Second

// record appends entries in their order, each after the one before it was
// recorded.
func (a *Agent) record(ctx context.Context, c chain, entries []entry) recorded {
	r := recorded{chain: c.clone(), rest: entries}
	for len(r.rest) > 0 {
		if r.err = a.recordOne(ctx, &r.chain, &r.rest[0]); r.err != nil {
			return r
		}
		r.rest = r.rest[1:]
	}
	return r
}

func (a *Agent) recordOne(ctx context.Context, c *chain, e *entry) error {
	if e.proposal == nil {
		cause := c.cause(*e)
		if cause.Seq == 0 {
			return nil // an orphan of which the log knows nothing
		}
		p := events.New(c.subject, c.after, e.fact.Type, cause, e.fact.Data)
		p.ID, p.Time = a.cfg.NewID(), e.fact.At.UTC()
		p.Source, p.Actor = events.NodeSource(a.cfg.Node), events.Actor("node:"+a.cfg.Node)
		e.proposal = &p
	}
	seq, err := a.append(ctx, e.proposal)
	if errors.Is(err, events.ErrInvalid) || errors.Is(err, events.ErrTooLarge) {
		a.cfg.Logger.Error("fact refused by the log", zap.String("event", string(e.fact.Type)), zap.Stringer("object", c.subject.Key), zap.Error(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", e.fact.Type.Short(), err)
	}
	c.after = seq
	ref := events.Ref{Seq: seq, ID: e.proposal.ID, Change: e.proposal.Change}
	switch {
	case e.fact.Container != "":
		c.containers = maps.Clone(c.containers)
		if c.containers == nil {
			c.containers = map[string]events.Ref{}
		}
		c.containers[e.fact.Container] = ref
	case e.fact.Type == events.PodStopping:
		c.stopping = ref
	case e.fact.Type == events.PodSandboxCreated:
		c.house = ref
	}
	return nil
}

// conflicts is how often in a row an append looks again at the end of its
// subject before it leaves it for later.
const conflicts = 5

// append records one proposal. Only this node's agent records on the subject, so
// a conflict means that the agent does not know its end: it looks and goes on.
func (a *Agent) append(ctx context.Context, p *events.Proposal) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	var err error
	for range conflicts {
		var seqs []uint64
		if seqs, err = a.cfg.Log.Append(ctx, *p); err == nil {
			return seqs[0], nil
		}
		if !errors.Is(err, events.ErrConflict) {
			return 0, err
		}
		last, _, lastErr := a.cfg.Log.Last(ctx, p.Subject)
		if lastErr != nil {
			return 0, lastErr
		}
		if last.ID == p.ID {
			return last.Seq, nil
		}
		p.After = last.Seq
	}
	return 0, err
}
