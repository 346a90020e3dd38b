package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Event is a fact about one object: a CloudEvent (v1.0) with our extensions.
type Event struct {
	ID      string          // ce-id: UUIDv7, unique in the log; the idempotency key of an append
	Type    Type            // ce-type
	Source  Source          // ce-source: the component that appends
	Subject Subject         // where it stands in the log; ce-subject is Subject.Key
	Time    time.Time       // ce-time: when it happened, by its author's clock, UTC
	Actor   Actor           // ce-actor: on whose behalf
	Cause   string          // ce-causationid: id of the event that led to this one; empty only on a person's request
	CauseAt uint64          // ce-causationseq: sequence of that event; 0 if there is none
	Change  string          // ce-correlationid: id of the change set; the id of the first event of the set
	Reason  string          // ce-reason: a person's words, may be empty
	Trace   string          // traceparent (W3C), may be empty
	Data    json.RawMessage // the payload as JSON: a [State] for the desired half, a thin struct otherwise
}

// Proposal is a fact that somebody wants recorded.
//
// A pure decision leaves ID and Time empty; its runner stamps them.
type Proposal struct {
	Event

	// After is the last sequence of Subject that the author had folded. Zero
	// means that the author knows of nothing: the append is accepted if the
	// subject is empty, or if its last event is terminal ([Spec.Terminal]), so
	// that a deleted object's name can be used again.
	After uint64
}

// Behind is for an author whose proposal about the actual half was refused
// although it knew of no event there (After is 0). If last, the subject's last
// event, is within what the author had folded, it speaks of an earlier object of
// that name: the proposal may follow it, which Behind returns. If it is not, or
// the proposal is another, ok is false: the author has to look again.
func (p Proposal) Behind(last Recorded, folded uint64) (next Proposal, ok bool) {
	if p.After != 0 || p.Subject.Half != Actual || last.Subject != p.Subject || last.Seq > folded {
		return p, false
	}
	p.After = last.Seq
	return p, true
}

// Recorded is a fact that the log has accepted.
type Recorded struct {
	Event

	Seq    uint64    // position in the log, from 1, never reused
	Stored time.Time // when the log accepted it, UTC
}

// Ref points at a recorded event, for use as a cause.
type Ref struct {
	Seq    uint64 `json:"seq"`
	ID     string `json:"id"`
	Change string `json:"change"`
}

// Ref is the event's address.
func (r Recorded) Ref() Ref { return Ref{Seq: r.Seq, ID: r.ID, Change: r.Change} }

// Newer is the later of two refs.
func (r Ref) Newer(o Ref) Ref {
	if o.Seq > r.Seq {
		return o
	}
	return r
}

// New is a proposal caused by another event; data is encoded as JSON. It panics
// if data cannot be encoded, which no payload type of this package can cause.
func New(s Subject, after uint64, t Type, cause Ref, data any) Proposal {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(fmt.Sprintf("encode %s for %s: %v", t, s.Key, err))
	}
	return Proposal{After: after, Event: Event{Type: t, Subject: s, Cause: cause.ID, CauseAt: cause.Seq, Change: cause.Change, Data: raw}}
}

// Decode reads the payload of an event. The error names the event.
func Decode[T any](r Recorded) (T, error) {
	var v T
	if err := json.Unmarshal(r.Data, &v); err != nil {
		return v, fmt.Errorf("decode %s at sequence %d: %w", r.Type, r.Seq, err)
	}
	return v, nil
}

// Actor is on whose behalf a fact was recorded: "user:NAME",
// "reconciler:NAME", "node:NAME" or "serviceaccount:NS:NAME".
type Actor string

// ActorOf makes an actor from an authenticated Kubernetes user name.
func ActorOf(user string) Actor {
	if sa, ok := strings.CutPrefix(user, "system:serviceaccount:"); ok {
		return Actor("serviceaccount:" + sa)
	}
	if node, ok := strings.CutPrefix(user, "system:node:"); ok {
		return Actor("node:" + node)
	}
	return Actor("user:" + user)
}

// Person reports whether the actor stands outside the system, so that its
// request needs no cause.
func (a Actor) Person() bool {
	return strings.HasPrefix(string(a), "user:") || strings.HasPrefix(string(a), "serviceaccount:")
}

// Source is the component that appends an event, as a URI reference.
type Source string

// DoorSource is the Kubernetes API server.
const DoorSource Source = "/door"

// ReconcilerSource is a reconciler, by name.
func ReconcilerSource(name string) Source { return Source("/reconcilers/" + name) }

// NodeSource is a node's agent.
func NodeSource(node string) Source { return Source("/nodes/" + node) }

// Owner is the column of the owners table the source belongs to: "door",
// "reconcilers/NAME" or "nodeagent"; empty if the source is none of these.
func (s Source) Owner() string {
	switch {
	case s == DoorSource:
		return OwnerDoor
	case s.Node() != "":
		return OwnerNode
	case strings.HasPrefix(string(s), "/reconcilers/"):
		return string(s[1:])
	default:
		return ""
	}
}

// Node is the node's name if the source is a node's agent, or empty.
func (s Source) Node() string {
	name, _ := strings.CutPrefix(string(s), "/nodes/")
	if name == string(s) {
		return ""
	}
	return name
}

// State is the payload of a fat event: the whole desired half after the change.
type State struct {
	// Object is the desired half (apiVersion, kind, metadata, spec or data)
	// after the change; empty when the event is terminal. Secret values in it are sealed.
	Object json.RawMessage `json:"object,omitempty"`
	// UID of the object the event speaks of.
	UID string `json:"uid"`
	// Changed are the paths of the fields that differ from the previous state,
	// such as "spec.replicas"; empty for a creation.
	Changed []string `json:"changed,omitempty"`
	// Previous is the sequence of the event that recorded the previous state of
	// this half; 0 for a creation.
	Previous uint64 `json:"previous,omitempty"`
}

// Log is an append-only, ordered sequence of events: the only truth. Every
// implementation passes the suite in events/logtest.
type Log interface {
	// Append records the proposals, all or none, in their order and without
	// others between them, and returns their sequences. It returns once they are
	// durable. Errors:
	//   - ErrConflict: at least one subject has moved past After; nothing was recorded;
	//   - ErrInvalid: a proposal breaks [Check]; nothing was recorded;
	//   - ErrTooLarge: a payload exceeds the limit; nothing was recorded;
	//   - ErrTemporary: nothing was recorded, trying again later may help;
	//   - any other error, a context error above all: the outcome is unknown.
	//     Appending the very same proposals again is safe: ids that are already
	//     recorded at the end of their subject are not recorded twice, and their
	//     first sequences are returned.
	Append(ctx context.Context, proposals ...Proposal) ([]uint64, error)

	// Read calls fn with every event from sequence from on (1 is the first), in
	// order, each once, first the recorded ones and then new ones as they come,
	// until ctx ends or fn returns an error, which Read returns. fn is told the
	// head as it was known when the event was read. A gap in the sequence is an
	// ErrGap. Messages that are not valid events are passed over, counted and
	// reported by the implementation, but use up their sequence.
	Read(ctx context.Context, from uint64, fn func(r Recorded, head uint64) error) error

	// Head is the sequence of the last event, 0 if there is none.
	Head(ctx context.Context) (uint64, error)

	// Last returns the last event of a subject; ok is false if there is none.
	Last(ctx context.Context, s Subject) (r Recorded, ok bool, err error)
}

// Outcomes of an append that its caller has to tell apart.
var (
	ErrConflict  = errors.New("the object has been modified since it was read")
	ErrTemporary = errors.New("temporarily unavailable")
	ErrInvalid   = errors.New("invalid event")
	ErrTooLarge  = errors.New("event too large")
	ErrGap       = errors.New("gap in the log")
)

// MaxDataBytes limits the payload of one event.
const MaxDataBytes = 512 << 10

// Check says whether a proposal is complete and its author may record it: known
// type, the half and node that fit, its owner as source, an id and a time, a
// cause unless a person asked, and a JSON payload within the limit. It wraps
// ErrInvalid or ErrTooLarge.
func Check(p Proposal) error {
	spec, known := Lookup(p.Type)
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s for %s: %w: %s", p.Type, p.Subject.Key, ErrInvalid, fmt.Sprintf(format, args...))
	}
	if err := p.Subject.Key.Valid(); err != nil {
		return fail("%v", err)
	}
	switch {
	case !known:
		return fail("unknown type")
	case spec.Half != p.Subject.Half:
		return fail("belongs to the %s half, not to %s", spec.Half, p.Subject.Half)
	case spec.Owner != p.Source.Owner():
		return fail("source %q may not record it: its owner is %s", p.Source, spec.Owner)
	case p.Subject.Node != p.Source.Node():
		return fail("source %q may not record on subject %s", p.Source, p.Subject)
	case p.ID == "" || p.Time.IsZero() || p.Actor == "" || p.Change == "":
		return fail("id, time, actor and change set are required")
	case p.Cause == "" && !p.Actor.Person():
		return fail("no cause")
	case (p.Cause == "") != (p.CauseAt == 0):
		return fail("a cause needs both its id and its sequence")
	case len(p.Data) > MaxDataBytes:
		return fmt.Errorf("%s for %s: %w: %d bytes, at most %d", p.Type, p.Subject.Key, ErrTooLarge, len(p.Data), MaxDataBytes)
	case !json.Valid(p.Data):
		return fail("payload is not JSON")
	}
	return nil
}
