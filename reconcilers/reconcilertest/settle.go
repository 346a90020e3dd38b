package reconcilertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// maxTurns is how many turns a cluster may take to settle; who needs more goes
// round in circles.
const maxTurns = 200_000

// Settle gives turns until nobody wants one at the present time. It returns an
// error if a proposal is one that no log would take or that belongs to somebody
// else, or if it does not end.
func (c *Cluster) Settle() error {
	for range maxTurns {
		turned, err := c.Turn()
		if err != nil || !turned {
			return err
		}
	}
	return fmt.Errorf("not settled after %d turns; the last events: %s", maxTurns, c.tail(20))
}

// Turn asks one reconciler about one object and records what it proposes. It
// returns false if nobody waits for a turn.
func (c *Cluster) Turn() (turned bool, err error) {
	c.due()
	waiting := 0
	for _, w := range c.workers {
		waiting += len(w.queue)
	}
	if waiting == 0 {
		return false, nil
	}
	n := 0
	if c.Choose != nil {
		n = c.Choose(waiting)
	}
	for _, w := range c.workers {
		if n < len(w.queue) {
			key := w.queue[n]
			w.queue = slices.Delete(w.queue, n, n+1)
			return true, c.decide(w, key)
		}
		n -= len(w.queue)
	}
	return false, nil
}

// due gives a turn to those who wanted to be asked by now.
func (c *Cluster) due() {
	for _, w := range c.workers {
		var keys []events.Key
		for k, at := range w.later {
			if !at.After(c.now) {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, projections.CompareKeys)
		for _, k := range keys {
			delete(w.later, k)
			w.wake(k)
		}
	}
}

func (c *Cluster) decide(w *worker, key events.Key) error {
	world := c.worldFor(w)
	if world != c.world {
		w.wake(key) // what it has not seen yet will wake it
	}
	facts, again := w.Decide(world, key, c.now)
	if !again.IsZero() {
		w.wakeAt(key, again)
	}
	for _, p := range facts {
		if owner := "reconcilers/" + w.Name; ownerOf(p.Type) != owner {
			return fmt.Errorf("%s proposed %s, which belongs to %s", owner, p.Type, ownerOf(p.Type))
		}
		r, err := c.Apply(p)
		w.wrote = max(w.wrote, r.Seq)
		switch {
		case errors.Is(err, events.ErrConflict):
			w.wake(key)
			return nil
		case err != nil:
			return fmt.Errorf("%s about %s: %w", w.Name, key, err)
		}
	}
	return nil
}

// worldFor is the World on which a worker decides: an older one if there is lag,
// but never one from before its own last event.
func (c *Cluster) worldFor(w *worker) *projections.World {
	if c.Lag == nil {
		return c.world
	}
	if lag := c.Lag(w.Name, len(c.past)); lag > 0 && c.past[len(c.past)-lag].Seq() >= w.wrote {
		return c.past[len(c.past)-lag]
	}
	return c.world
}

// Ask asks the reconciler of a name about an object without recording anything.
func (c *Cluster) Ask(name string, key events.Key) []events.Proposal {
	for _, w := range c.workers {
		if w.Name == name {
			facts, _ := w.Decide(c.world, key, c.now)
			return facts
		}
	}
	return nil
}

// WakeAll gives every object a turn with every reconciler, as at a start.
func (c *Cluster) WakeAll() {
	for _, table := range c.world.Tables() {
		for o := range c.world.List(table, "") {
			for _, w := range c.workers {
				for _, k := range w.Wakes(c.world, projections.Change{Seq: o.Seq, Type: projections.Added, Object: o}) {
					w.wake(k)
				}
			}
		}
	}
}

// NextAlarm is when the next reconciler wants to be asked again; ok is false if
// nobody does.
func (c *Cluster) NextAlarm() (at time.Time, ok bool) {
	for _, w := range c.workers {
		for _, t := range w.later {
			if !ok || t.Before(at) {
				at, ok = t, true
			}
		}
	}
	return at, ok
}

func (w *worker) wake(k events.Key) {
	if !slices.Contains(w.queue, k) {
		w.queue = append(w.queue, k)
	}
}

func (w *worker) wakeAt(k events.Key, at time.Time) {
	if before, ok := w.later[k]; !ok || at.Before(before) {
		w.later[k] = at
	}
}

func ownerOf(t events.Type) string {
	spec, _ := events.Lookup(t)
	return spec.Owner
}

// Render writes events one per line, such as "7 pod.requested default/web-x by
// reconciler:replicas because of 5", for golden files and for people.
func Render(log []events.Recorded) string {
	var b strings.Builder
	for _, r := range log {
		fmt.Fprintf(&b, "%d %s %s by %s", r.Seq, r.Type.Short(), r.Subject.Key, r.Actor)
		if r.CauseAt > 0 {
			fmt.Fprintf(&b, " because of %d", r.CauseAt)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (c *Cluster) tail(n int) string { return "\n" + Render(c.log[max(0, len(c.log)-n):]) }
