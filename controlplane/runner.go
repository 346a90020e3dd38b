package controlplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

	queue   queue
	seen    uint64  // changes up to here have woken their objects
	single  int     // so many objects are decided one at a time
	trouble backoff // how long to pause when the log takes nothing
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
	for ctx.Err() == nil {
		next := r.wakeChanged()
		done, err := r.turn(ctx)
		if err != nil {
			return err
		}
		if done {
			continue
		}
		r.wait(ctx, next)
	}
	return nil
}

// wait returns when something changed, somebody wanted to be asked again, or ctx
// ended.
func (r *Runner) wait(ctx context.Context, changed <-chan struct{}) {
	var alarm <-chan time.Time
	if at, ok := r.queue.earliest(); ok {
		t := time.NewTimer(at.Sub(r.Now()))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-changed:
	case <-alarm:
	case <-ctx.Done():
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
		return r.wakeChanged() // what has come meanwhile
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

// turn asks the reconciler about the objects whose turn it is and appends its
// answers. done is false if nobody's turn has come.
//
// Several objects are decided in one go, each on a World in which the answers
// before it are folded already, and many answers are appended as one batch: that
// is one write to the disk. If the log refuses it, nothing was recorded, and the
// objects are decided one at a time.
func (r *Runner) turn(ctx context.Context) (done bool, err error) {
	base := r.World.Current()
	answers := r.decide(base)
	if len(answers) == 0 {
		return false, nil
	}
	var all []events.Proposal
	for _, a := range answers {
		all = append(all, a.facts...)
	}
	if len(all) >= batchFrom {
		last, err := AppendSure(ctx, r.Log, all...)
		if err == nil {
			for _, a := range answers {
				r.queue.calm(a.key)
			}
			return true, r.await(ctx, last)
		}
		if len(answers) > 1 { // a single answer is tried fact by fact, which tells the bad one
			r.single = len(answers)
			for _, a := range answers {
				r.queue.add(a.key)
			}
			r.pause(ctx, err)
			return true, nil
		}
	}
	return true, r.appendEach(ctx, answers, base.Seq())
}

// pause rests after an error that is no conflict: the log is in trouble.
func (r *Runner) pause(ctx context.Context, err error) {
	if errors.Is(err, events.ErrConflict) || ctx.Err() != nil {
		return
	}
	r.Logger.Error("decisions could not be recorded", zap.Error(err))
	r.trouble.sleep(ctx)
}

// answer is what the reconciler said about one object.
type answer struct {
	key   events.Key
	facts []events.Proposal
}

// decide asks about as many objects as fit in a batch.
func (r *Runner) decide(base *projections.World) []answer {
	var answers []answer
	most := batchMost
	if r.single > 0 {
		most, r.single = 1, r.single-1
	}
	w, now, total := base, r.Now(), 0
	for total < most {
		key, due := r.queue.pop(now)
		if !due {
			break
		}
		facts, again := r.Reconciler.Decide(w, key, now)
		if total > 0 && (total+len(facts) > batchLimit || beyond(facts, base.Seq())) {
			r.queue.add(key) // it needs what is not recorded yet
			break
		}
		if !again.IsZero() {
			r.queue.addAt(key, again)
		}
		for i := range facts {
			facts[i] = r.stamp(facts[i], now)
			if most > 1 {
				w, _ = w.Fold(events.Recorded{Event: facts[i].Event, Seq: w.Seq() + 1, Stored: now})
			}
		}
		answers = append(answers, answer{key, facts})
		total += max(len(facts), 1)
	}
	return answers
}

const (
	// batchFrom is from how many facts on one atomic batch is faster than as many
	// single appends.
	batchFrom = 20
	// batchMost is how many decisions and facts a turn collects, and batchLimit
	// how many facts the log takes at once.
	batchMost  = 256
	batchLimit = 1000
)

// beyond reports whether facts refer to events that are not recorded yet.
func beyond(facts []events.Proposal, seq uint64) bool {
	return slices.ContainsFunc(facts, func(p events.Proposal) bool { return p.After > seq || p.CauseAt > seq })
}

func (r *Runner) stamp(p events.Proposal, now time.Time) events.Proposal {
	p.ID, p.Time = r.NewID(), now.UTC()
	p.Source = events.ReconcilerSource(r.Reconciler.Name)
	p.Actor = events.Actor("reconciler:" + r.Reconciler.Name)
	return p
}

// appendEach appends answers in their order. Once one is refused, those behind it
// are decided anew: they were decided as if it had been recorded.
func (r *Runner) appendEach(ctx context.Context, answers []answer, folded uint64) error {
	var last uint64
	for i, a := range answers {
		for _, p := range a.facts {
			seq, err := r.record(ctx, p, folded)
			if err != nil {
				for _, behind := range answers[i+1:] {
					r.queue.add(behind.key)
				}
				return r.failed(ctx, a.key, p, err)
			}
			last = seq
		}
		r.queue.calm(a.key)
	}
	return r.await(ctx, last)
}

// await waits until the World has what was recorded last.
func (r *Runner) await(ctx context.Context, last uint64) error {
	r.trouble = 0
	_, err := r.World.Await(ctx, last)
	return ignoreEnd(ctx, err)
}

// record appends one proposal that was decided on the World at folded; an unknown
// outcome is made known by repeating the same proposal.
func (r *Runner) record(ctx context.Context, p events.Proposal, folded uint64) (uint64, error) {
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
