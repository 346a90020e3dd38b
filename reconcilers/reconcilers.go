// Package reconcilers turns state into facts. Each subpackage holds one
// reconciler: a function from what is known to what should be recorded next.
//
// A reconciler decides; it does not act. It is given a consistent World and the
// time, and returns proposals, and the moment it wants to be asked again if
// nothing else happens before. It holds no state between calls, so it can be
// stopped, restarted or run twice without harm: the second copy's proposals
// lose the append and are dropped.
//
// The rules that keep this true, each checked by a test:
//
//   - it appends only the types that [events.Lookup] gives it;
//   - it imports events and projections, never another reconciler;
//   - it reads no clock, no random source, no network and no file;
//   - it is not asked before the World has caught up with the log.
package reconcilers

import (
	"time"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Reconciler is one reconciler as its runner sees it.
type Reconciler struct {
	// Name as in the owners table: "replicas" for "reconcilers/replicas".
	Name string
	// Wakes returns the objects whose turn it is after a change of the World.
	// It may name an object that is no more.
	Wakes func(w *projections.World, c projections.Change) []events.Key
	// Decide returns the facts that close the gap between what is wanted and
	// what is, for one object; nothing if there is none. Facts are appended in
	// order; at the first conflict the rest is dropped and Decide is asked again
	// on a newer World. If again is not zero, Decide is asked again at that time.
	Decide func(w *projections.World, key events.Key, now time.Time) (facts []events.Proposal, again time.Time)
}
