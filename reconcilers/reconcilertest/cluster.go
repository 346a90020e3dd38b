// Package reconcilertest runs reconcilers in tests: a log in memory, a World
// folded from it, a clock that only the test moves, and a loop that gives each
// object its turn until nobody has anything left to decide.
//
// The loop is the contract of [reconcilers.Reconciler] and nothing more: the
// order of turns is anybody's ([Cluster.Choose]), what is appended may have been
// decided on an earlier World ([Cluster.Lag]), and a proposal that comes too late
// is refused.
package reconcilertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Cluster is a log, the World it makes and the reconcilers that live in it.
type Cluster struct {
	// Choose picks whose turn it is among n that wait; the first if nil.
	Choose func(n int) int
	// Lag says how many events old the World is on which a reconciler makes its next
	// decision, at most so many; none if nil. A reconciler always sees what it recorded itself,
	// so give New the same one twice for copies that don't see each other.
	Lag func(reconciler string, most int) int
	// Watch, if not nil, is called after each event with the World it made.
	Watch func(w *projections.World, r events.Recorded)

	world   *projections.World
	past    []*projections.World // the newest last, world itself not among them
	log     []events.Recorded
	last    map[events.Subject]uint64
	now     time.Time
	workers []*worker
}

// worker is one reconciler and whose turn it is.
type worker struct {
	reconcilers.Reconciler
	queue []events.Key
	later map[events.Key]time.Time
	wrote uint64 // its last event
}

// New makes a cluster whose log holds the first event of every log.
func New(rs ...reconcilers.Reconciler) *Cluster {
	c := &Cluster{world: projections.Empty(), last: map[events.Subject]uint64{}, now: time.Date(2026, 11, 20, 3, 12, 0, 0, time.UTC)}
	for _, r := range rs {
		c.workers = append(c.workers, &worker{Reconciler: r, later: map[events.Key]time.Time{}})
	}
	key := events.Key{Group: "periplus.dev", Resource: "clusters", Name: "periplus"}
	object := json.RawMessage(`{"apiVersion":"periplus.dev/v1","kind":"Cluster","metadata":{"name":"periplus","uid":"cluster"}}`)
	c.MustApply(events.New(key.Wanted(), 0, events.ClusterInitialized, events.Ref{}, events.State{Object: object, UID: "cluster"}))
	return c
}

// World is the newest World.
func (c *Cluster) World() *projections.World { return c.world }

// Log is every event so far; not to be modified.
func (c *Cluster) Log() []events.Recorded { return c.log }

// Now is the cluster's clock.
func (c *Cluster) Now() time.Time { return c.now }

// Advance moves the clock.
func (c *Cluster) Advance(d time.Duration) { c.now = c.now.Add(d) }

// Object returns an object of the newest World, or nil.
func (c *Cluster) Object(k events.Key) *projections.Object {
	o, _ := c.world.Get(k)
	return o
}

// Apply records a proposal and folds it. What its author left empty is filled
// in: id, time, and the owner of its type as source and actor; a person if that
// is the door. It returns events.ErrConflict for a proposal that comes too late
// and events.ErrInvalid for one that no log would take.
func (c *Cluster) Apply(p events.Proposal) (events.Recorded, error) {
	c.stamp(&p)
	if err := events.Check(p); err != nil {
		return events.Recorded{}, err
	}
	if last := c.last[p.Subject]; p.After != last && (p.After != 0 || !c.over(p.Subject)) {
		return events.Recorded{}, fmt.Errorf("%s of %s after %d, but its last is %d: %w", p.Type.Short(), p.Subject.Key, p.After, last, events.ErrConflict)
	}
	r := events.Recorded{Event: p.Event, Seq: uint64(len(c.log)) + 1, Stored: c.now}
	c.log = append(c.log, r)
	c.last[p.Subject] = r.Seq
	skipped := c.world.Skipped()
	var changes []projections.Change
	c.past = append(c.past[max(0, len(c.past)-mostLag+1):], c.world)
	c.world, changes = c.world.Fold(r)
	if c.world.Skipped() > skipped {
		return r, fmt.Errorf("%s of %s: %w: it cannot be folded", r.Type, r.Subject.Key, events.ErrInvalid)
	}
	for _, ch := range changes {
		for _, w := range c.workers {
			for _, k := range w.Wakes(c.world, ch) {
				w.wake(k)
			}
		}
	}
	if c.Watch != nil {
		c.Watch(c.world, r)
	}
	return r, nil
}

// mostLag is how many past Worlds are kept.
const mostLag = 16

// over reports whether what a subject's last event speaks of is no more.
func (c *Cluster) over(s events.Subject) bool {
	last := c.last[s]
	if spec, _ := events.Lookup(c.log[last-1].Type); spec.Terminal {
		return true
	}
	o, ok := c.world.Get(s.Key)
	return s.Half == events.Actual && (!ok || o.Own.Seq == 0 && s.Node == "")
}

// MustApply is [Cluster.Apply] for what cannot be refused; it panics otherwise.
func (c *Cluster) MustApply(p events.Proposal) events.Recorded {
	r, err := c.Apply(p)
	if err != nil {
		panic(err)
	}
	return r
}

func (c *Cluster) stamp(p *events.Proposal) {
	if p.ID == "" {
		p.ID = fmt.Sprintf("00000000-0000-7000-8000-%012x", len(c.log)+1)
	}
	if p.Time.IsZero() {
		p.Time = c.now
	}
	if p.Change == "" {
		p.Change = p.ID
	}
	spec, _ := events.Lookup(p.Type)
	switch name, isReconciler := strings.CutPrefix(spec.Owner, "reconcilers/"); {
	case isReconciler:
		p.Source, p.Actor = events.ReconcilerSource(name), events.Actor("reconciler:"+name)
	case spec.Owner == events.OwnerNode:
		p.Source, p.Actor = events.NodeSource(p.Subject.Node), events.Actor("node:"+p.Subject.Node)
	default:
		p.Source, p.Actor = events.DoorSource, "user:ann"
	}
}
