package history

import (
	"errors"
	"fmt"

	"periplus.dev/events"
)

// ErrUnknown says that the log holds no event with the sequence that was asked for.
var ErrUnknown = errors.New("no such event")

// ErrBroken says that a chain of causes does not lead to an origin. The log
// refuses such events, so somebody has changed it.
var ErrBroken = errors.New("broken chain of causes")

// Lookup finds an event by its sequence; ok is false if the log holds none.
type Lookup func(seq uint64) (r events.Recorded, ok bool, err error)

// Why returns the event with a sequence, the one that caused it, the cause of
// that, and so on, effect first, down to one that nothing in the log caused. It
// returns ErrUnknown if there is no such event, and ErrBroken, with both events
// named, if a cause is missing, is another event than the effect says, or is not
// older than its effect (which a cycle would need).
func Why(seq uint64, at Lookup) ([]events.Recorded, error) {
	r, ok, err := at(seq)
	switch {
	case err != nil:
		return nil, fmt.Errorf("explain event %d: %w", seq, err)
	case !ok:
		return nil, fmt.Errorf("explain event %d: %w", seq, ErrUnknown)
	}
	chain := []events.Recorded{r}
	for r.CauseAt != 0 {
		if r.CauseAt >= r.Seq {
			return nil, fmt.Errorf("explain event %d: %w: event %d names event %d as its cause, which is not older", seq, ErrBroken, r.Seq, r.CauseAt)
		}
		cause, ok, err := at(r.CauseAt)
		switch {
		case err != nil:
			return nil, fmt.Errorf("explain event %d: %w", seq, err)
		case !ok:
			return nil, fmt.Errorf("explain event %d: %w: event %d, the cause of event %d, is not in the log", seq, ErrBroken, r.CauseAt, r.Seq)
		case cause.ID != r.Cause:
			return nil, fmt.Errorf("explain event %d: %w: event %d names %s as its cause, but event %d is %s", seq, ErrBroken, r.Seq, r.Cause, r.CauseAt, cause.ID)
		}
		chain = append(chain, cause)
		r = cause
	}
	return chain, nil
}

// Origin says in a few words where a chain of causes (effect first, as from
// [Why]) begins: with a person, with the physical world, or with the log itself.
// It is empty if the chain is.
func Origin(chain []Entry) string {
	if len(chain) == 0 {
		return ""
	}
	root := chain[len(chain)-1]
	actor := events.Actor(root.Actor)
	switch {
	case observed(root):
		return "the physical world: " + root.Actor
	case root.Type == string(events.ClusterInitialized) && len(chain) > 1 && observed(chain[len(chain)-2]):
		return "the physical world: " + chain[len(chain)-2].Actor
	case root.Type == string(events.ClusterInitialized):
		return "the log begins here"
	case actor.Person() && root.Reason != "":
		return "asked by " + root.Actor + ": " + OneLine(root.Reason)
	case actor.Person():
		return "asked by " + root.Actor
	default:
		return "no cause is recorded, its actor is " + root.Actor
	}
}

func observed(e Entry) bool {
	spec, ok := events.Lookup(events.Type(e.Type))
	return ok && spec.Owner == events.OwnerNode
}

// Life is what the events of one object, folded in their order, say about when
// it came to be and went. An object that is made anew under its old name has a
// new life.
type Life struct {
	Born  uint64 // sequence of the event that brought it into being, 0 if none did
	Ended uint64 // sequence of the event after which it was no more, 0 while it is there
	Last  uint64 // sequence of its newest event of any kind
}

// Fold returns the life after the object's next event.
func (l Life) Fold(r events.Recorded) Life {
	if r.Seq <= l.Last {
		return l
	}
	l.Last = r.Seq
	alive := l.Born != 0 && l.Ended == 0
	spec, known := events.Lookup(r.Type)
	switch {
	case !known:
	case alive && spec.Terminal && spec.Half == events.Desired:
		l.Ended = r.Seq
	case !alive && !spec.Terminal && (spec.Half == events.Desired && spec.Fat || r.Type == events.NodeRegistered):
		l.Born, l.Ended = r.Seq, 0
	}
	return l
}

// Telling is the sequence of the event that explains why the object is as it is:
// the one that brought it into being, or took it away if it is no more. If the
// log knows of neither, it is the newest one; 0 if there is none at all.
func (l Life) Telling() uint64 {
	switch {
	case l.Ended != 0:
		return l.Ended
	case l.Born != 0:
		return l.Born
	default:
		return l.Last
	}
}
