package memlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
)

var web = events.Key{Resource: "configmaps", Namespace: "default", Name: "web"}

func propose(id, fact string, after uint64) events.Proposal {
	p := events.New(web.Wanted(), after, events.TypeOf("configmap", fact), events.Ref{Change: id}, events.State{UID: "u"})
	p.ID, p.Source, p.Actor, p.Time = id, events.DoorSource, "user:alice", time.Unix(1, 0)
	return p
}

// TestUnknownOutcomes: an append may fail before and after it is recorded, and
// its author cannot tell; saying it again has the same result in both cases.
func TestUnknownOutcomes(t *testing.T) {
	lost := errors.New("answer lost")
	once := func() func([]events.Proposal) error {
		done := false
		return func([]events.Proposal) error {
			if done {
				return nil
			}
			done = true
			return lost
		}
	}
	for name, test := range map[string]struct {
		cfg      memlog.Config
		recorded uint64
	}{
		"not recorded": {memlog.Config{Fail: once()}, 0},
		"recorded":     {memlog.Config{Lose: once()}, 1},
	} {
		l := memlog.New(test.cfg)
		p := propose("a", events.FactCreated, 0)
		if seqs, err := l.Append(t.Context(), p); !errors.Is(err, lost) {
			t.Fatalf("%s: %v, %v", name, seqs, err)
		}
		if head, err := l.Head(t.Context()); head != test.recorded || err != nil {
			t.Errorf("%s: head is %d, %v", name, head, err)
		}
		if seqs, err := l.Append(t.Context(), p); err != nil || seqs[0] != 1 {
			t.Errorf("%s: again: %v, %v", name, seqs, err)
		}
	}
}

// TestFailMayProvokeConflict: the hook runs outside of the lock and may be the
// other writer.
func TestFailMayProvokeConflict(t *testing.T) {
	var l *memlog.Log
	l = memlog.New(memlog.Config{Fail: func(ps []events.Proposal) error {
		if ps[0].ID == "mine" {
			_, err := l.Append(context.Background(), propose("theirs", events.FactCreated, 0))
			return err
		}
		return nil
	}})
	if _, err := l.Append(t.Context(), propose("mine", events.FactCreated, 0)); !errors.Is(err, events.ErrConflict) {
		t.Errorf("append: %v, want %v", err, events.ErrConflict)
	}
}

func TestNowIsWhenItIsStored(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("here", 3600))
	l := memlog.New(memlog.Config{Now: func() time.Time { return at }})
	p := propose("a", events.FactCreated, 0)
	if _, err := l.Append(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.Data[0] = 'x' // what is recorded does not change with what its author holds
	r, _, err := l.At(t.Context(), 1)
	if err != nil || !r.Stored.Equal(at) || r.Stored.Location() != time.UTC || r.Data[0] != '{' {
		t.Errorf("recorded %+v, %v", r, err)
	}
}
