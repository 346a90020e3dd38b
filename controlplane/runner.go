package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// RunnerConfig is what a Runner needs; all fields are required.
type RunnerConfig struct {
	Reconciler reconcilers.Reconciler
	World      *projections.Projection
	Log        Log
	Now        func() time.Time
	NewID      func() string // UUIDv7
	Logger     *zap.Logger
}

// Runner asks one reconciler whenever something changed that concerns it, on
// the newest World, and appends what it proposes with the sequences it saw. A
// proposal that comes too late is dropped, and the reconciler asked again.
type Runner struct {
	RunnerConfig

	queue queue
	seen  uint64 // changes up to here have woken their objects
}

// NewRunner makes a Runner; it does nothing before [Runner.Run].
func NewRunner(cfg RunnerConfig) *Runner {
	cfg.Logger = cfg.Logger.With(zap.String("reconciler", cfg.Reconciler.Name))
	return &Runner{RunnerConfig: cfg, queue: newQueue()}
}

// Run runs until ctx ends. It asks nothing before the World has caught up.
func (r *Runner) Run(ctx context.Context) error {
	select {
	case <-r.World.CaughtUp():
	case <-ctx.Done():
		return nil
	}
	r.wakeAll()
	for {
		next := r.wakeChanged()
		key, due := r.queue.pop(r.Now())
		if due {
			if err := r.decide(ctx, key); err != nil {
				return err
			}
			continue
		}
		if !r.wait(ctx, next) {
			return nil
		}
	}
}

// wait returns when something changed or somebody wanted to be asked again,
// false if ctx ended.
func (r *Runner) wait(ctx context.Context, changed <-chan struct{}) bool {
	var alarm <-chan time.Time
	if at, ok := r.queue.earliest(); ok {
		t := time.NewTimer(at.Sub(r.Now()))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-changed:
		return true
	case <-alarm:
		return true
	case <-ctx.Done():
		return false
	}
}

// wakeAll gives every object of the World its turn, as if it had just come.
func (r *Runner) wakeAll() {
	w := r.World.Current()
	r.seen = w.Seq()
	for _, table := range w.Tables() {
		for o := range w.List(table, "") {
			for _, k := range r.Reconciler.Wakes(w, projections.Change{Seq: o.Seq, Type: projections.Added, Object: o}) {
				r.queue.add(k)
			}
		}
	}
}

// wakeChanged gives the objects their turn that changes since the last call
// concern, and returns a channel that is closed when there are more.
func (r *Runner) wakeChanged() <-chan struct{} {
	changes, next, err := r.World.Changes("", r.seen)
	if err != nil {
		r.wakeAll()
		_, next, _ = r.World.Changes("", r.seen)
		return next
	}
	w := r.World.Current()
	for _, c := range changes {
		r.seen = c.Seq
		for _, k := range r.Reconciler.Wakes(w, c) {
			r.queue.add(k)
		}
	}
	return next
}

// decide asks the reconciler about one object and appends its answer.
func (r *Runner) decide(ctx context.Context, key events.Key) error {
	w := r.World.Current()
	facts, again := r.Reconciler.Decide(w, key, r.Now())
	if !again.IsZero() {
		r.queue.addAt(key, again)
	}
	var last uint64
	for _, p := range facts {
		seq, err := r.record(ctx, p, w.Seq())
		if err != nil {
			return r.failed(ctx, key, p, err)
		}
		last = seq
	}
	r.queue.calm(key)
	if last == 0 {
		return nil
	}
	_, err := r.World.Await(ctx, last)
	return ignoreEnd(ctx, err)
}

// record stamps and appends one proposal that was decided on the World at
// folded; an unknown outcome is made known by repeating the same proposal.
func (r *Runner) record(ctx context.Context, p events.Proposal, folded uint64) (uint64, error) {
	p.ID, p.Time = r.NewID(), r.Now().UTC()
	p.Source = events.ReconcilerSource(r.Reconciler.Name)
	p.Actor = events.Actor("reconciler:" + r.Reconciler.Name)
	seq, err := AppendSure(ctx, r.Log, p)
	if !errors.Is(err, events.ErrConflict) || p.After != 0 || p.Subject.Half != events.Actual {
		return seq, err
	}
	last, _, lookErr := r.Log.Last(ctx, p.Subject)
	if lookErr != nil {
		return 0, errors.Join(events.ErrTemporary, lookErr)
	}
	if p, ok := p.Behind(last, folded); ok {
		return AppendSure(ctx, r.Log, p)
	}
	return 0, err
}

// failed gives an object whose fact was not recorded another turn, later each
// time; after a conflict once what was in the way is folded. Only the end of ctx
// ends the runner.
func (r *Runner) failed(ctx context.Context, key events.Key, p events.Proposal, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was to end
	}
	if errors.Is(err, events.ErrConflict) {
		err = r.settle(ctx, p.Subject)
	}
	if err != nil && ctx.Err() == nil {
		r.Logger.Error("a decision could not be recorded", zap.Stringer("object", p.Subject.Key), zap.String("event", string(p.Type)), zap.Error(err))
	}
	r.queue.addAt(key, r.Now().Add(r.queue.delay(key)))
	return nil
}

// settle waits until the World has folded the last event of a subject.
func (r *Runner) settle(ctx context.Context, s events.Subject) error {
	last, ok, err := r.Log.Last(ctx, s)
	if err != nil || !ok {
		return err
	}
	_, err = r.World.Await(ctx, last.Seq)
	return err
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was to end
	}
	return err
}

// AppendSure appends proposals and returns the sequence of the last. While the
// outcome of an append is unknown the very same proposals are appended again,
// which the log recognises by their ids; so it returns an error only if nothing
// was recorded, or if ctx ended first.
func AppendSure(ctx context.Context, log interface {
	Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error)
}, proposals ...events.Proposal) (uint64, error) {
	var wait backoff
	for {
		seqs, err := log.Append(ctx, proposals...)
		if err == nil {
			return seqs[len(seqs)-1], nil
		}
		for _, known := range []error{events.ErrConflict, events.ErrInvalid, events.ErrTooLarge, events.ErrTemporary} {
			if errors.Is(err, known) {
				return 0, err
			}
		}
		if !wait.sleep(ctx) {
			return 0, fmt.Errorf("append %s for %s: outcome unknown: %w", proposals[0].Type, proposals[0].Subject.Key, err)
		}
	}
}
