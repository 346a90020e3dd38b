package projections

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"periplus.dev/events"
)

// ErrExpired says that changes after a sequence are no longer kept: their
// reader has to start anew from a list.
var ErrExpired = errors.New("changes are no longer kept")

// DefaultWindow is how many changes of each table a [Projection] keeps at least.
const DefaultWindow = 8192

// Projection holds the newest World for its readers. One caller folds; any
// number read.
type Projection struct {
	window int
	begin  uint64 // sequence of the World it started from; changes up to it were never kept
	world  atomic.Pointer[World]

	mu       sync.Mutex
	rings    map[string]*ring // per table; "" for all
	waiting  []waiter
	caughtUp chan struct{}
	done     bool // caughtUp is closed
}

type waiter struct {
	seq  uint64
	done chan struct{}
}

// ring keeps the newest changes of a table.
type ring struct {
	changes []Change
	lost    uint64        // sequence of the newest change dropped
	next    chan struct{} // closed at the next change
}

// NewProjection starts from the empty World. It keeps window changes of each
// table for followers, DefaultWindow if window is 0.
func NewProjection(window int) *Projection { return ProjectionFrom(Empty(), window) }

// ProjectionFrom starts from a World that was folded before. Changes up to its
// sequence have expired: who followed them starts anew from a list.
func ProjectionFrom(w *World, window int) *Projection {
	if window <= 0 {
		window = DefaultWindow
	}
	p := &Projection{window: window, begin: w.Seq(), rings: map[string]*ring{}, caughtUp: make(chan struct{})}
	p.world.Store(w)
	return p
}

// Fold takes the next event of the log; head is the log's head as known then.
// It must be called by one goroutine at a time.
func (p *Projection) Fold(r events.Recorded, head uint64) {
	w, changes := p.Current().Fold(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	// Whoever is woken for a change finds the World that has it.
	p.world.Store(w)
	for _, c := range changes {
		p.keep(c.Object.Key.GroupResource(), c)
		p.keep("", c)
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(wt waiter) bool {
		if wt.seq <= w.Seq() {
			close(wt.done)
			return true
		}
		return false
	})
	if w.Seq() >= head {
		p.catchUp()
	}
}

// CaughtUpAt says that the log's head is known to be seq: if the World is there
// already, it has caught up. It is called once at start, for a log that holds nothing new.
func (p *Projection) CaughtUpAt(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Current().Seq() >= seq {
		p.catchUp()
	}
}

func (p *Projection) catchUp() {
	if !p.done {
		p.done = true
		close(p.caughtUp)
	}
}

func (p *Projection) keep(table string, c Change) {
	g := p.ring(table)
	g.changes = append(g.changes, c)
	if len(g.changes) > 2*p.window {
		cut := len(g.changes) - p.window
		g.lost = g.changes[cut-1].Seq
		for cut < len(g.changes) && g.changes[cut].Seq == g.lost {
			cut++ // never half of what one event did
		}
		g.changes = slices.Clone(g.changes[cut:])
	}
	close(g.next)
	g.next = make(chan struct{})
}

func (p *Projection) ring(table string) *ring {
	g, ok := p.rings[table]
	if !ok {
		g = &ring{lost: p.begin, next: make(chan struct{})}
		p.rings[table] = g
	}
	return g
}

// Current is the newest World.
func (p *Projection) Current() *World { return p.world.Load() }

// CaughtUp is closed once the World has reached the head of the log as it was
// when following began. Nobody decides anything before.
func (p *Projection) CaughtUp() <-chan struct{} { return p.caughtUp }

// Await returns the first World it finds that has folded sequence seq, waiting
// for it until ctx ends.
func (p *Projection) Await(ctx context.Context, seq uint64) (*World, error) {
	if w := p.Current(); w.Seq() >= seq {
		return w, nil
	}
	p.mu.Lock()
	if w := p.Current(); w.Seq() >= seq {
		p.mu.Unlock()
		return w, nil
	}
	wt := waiter{seq: seq, done: make(chan struct{})}
	p.waiting = append(p.waiting, wt)
	p.mu.Unlock()
	select {
	case <-wt.done:
		return p.Current(), nil
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waiting = slices.DeleteFunc(p.waiting, func(o waiter) bool { return o.done == wt.done })
		return nil, fmt.Errorf("await sequence %d: %w", seq, ctx.Err())
	}
}

// Changes returns what happened to a table ("" for all) after a sequence, and a
// channel that is closed when there is more. It returns ErrExpired if changes
// after that sequence are no longer kept. What it returns must not be modified.
func (p *Projection) Changes(table string, after uint64) (changes []Change, next <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := p.ring(table)
	if after < g.lost {
		return nil, nil, fmt.Errorf("changes of %q after %d: %w, the oldest are after %d", table, after, ErrExpired, g.lost)
	}
	i, _ := slices.BinarySearchFunc(g.changes, after+1, func(c Change, seq uint64) int {
		switch {
		case c.Seq < seq:
			return -1
		case c.Seq > seq:
			return 1
		default:
			return 0
		}
	})
	return slices.Clip(g.changes[i:]), g.next, nil
}
