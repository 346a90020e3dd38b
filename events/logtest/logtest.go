// Package logtest is the suite that every [events.Log] passes. What it checks is
// the contract; a behaviour that it does not check may differ between logs.
package logtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"periplus.dev/events"
)

// Log is what the suite tests: the contract, and the two ways to look back that
// every log of ours has.
type Log interface {
	events.Log

	// Of calls fn with every event of an object that is recorded now, of both
	// halves and all observers, in order, and returns fn's error.
	Of(ctx context.Context, key events.Key, fn func(events.Recorded) error) error
	// At returns the event with a sequence; ok is false if there is none.
	At(ctx context.Context, seq uint64) (r events.Recorded, ok bool, err error)
}

// Run runs the suite. open makes an empty log, which the test's end closes.
func Run(t *testing.T, open func(*testing.T) Log) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"Empty", testEmpty},
		{"Append", testAppend},
		{"Conflict", testConflict},
		{"NameUsedAgain", testNameUsedAgain},
		{"NameUsedAgainInBatch", testNameUsedAgainInBatch},
		{"HalvesAreApart", testHalvesAreApart},
		{"BatchIsContiguous", testBatchIsContiguous},
		{"BatchIsAllOrNone", testBatchIsAllOrNone},
		{"BatchChecksFirstOfSubject", testBatchChecksFirstOfSubject},
		{"Repeat", testRepeat},
		{"RepeatAfterOthers", testRepeatAfterOthers},
		{"RepeatBatch", testRepeatBatch},
		{"RepeatInOtherGroups", testRepeatInOtherGroups},
		{"Invalid", testInvalid},
		{"TooLarge", testTooLarge},
		{"Cancelled", testCancelled},
		{"ReadThenFollow", testReadThenFollow},
		{"ReadReturnsError", testReadReturnsError},
		{"ReadFromTheFuture", testReadFromTheFuture},
		{"Of", testOf},
		{"AnyText", testAnyText},
		{"Writers", testWriters},
		{"FollowersAndWriters", testFollowersAndWriters},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newBench(t, open(t))) })
	}
}

// patience bounds a test: it ends a test that hangs, and decides nothing else.
const patience = 2 * time.Minute

// bench is a log under test and what every test does with it.
type bench struct {
	Log
	t   *testing.T
	ctx context.Context
	ids atomic.Int64
}

func newBench(t *testing.T, l Log) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &bench{Log: l, t: t, ctx: ctx}
}

// started is the time of the first event; each later one is a millisecond on.
var started = time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.UTC)

func key(n int) events.Key {
	return events.Key{Resource: "configmaps", Namespace: "default", Name: fmt.Sprintf("web-%d", n)}
}

// propose is a person's fact about the desired half of a key.
func (b *bench) propose(k events.Key, fact string, after uint64) events.Proposal {
	n := b.ids.Add(1)
	id := fmt.Sprintf("01890000-0000-7000-8000-%012d", n)
	p := events.New(k.Wanted(), after, events.TypeOf("configmap", fact), events.Ref{Change: id}, events.State{
		Object: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), UID: "uid-" + k.Name, Previous: after,
	})
	p.ID, p.Source, p.Actor = id, events.DoorSource, "user:alice"
	p.Time = started.Add(time.Duration(n) * time.Millisecond)
	return p
}

// observe is a node's fact about the actual half of a pod.
func (b *bench) observe(k events.Key, node string, after uint64, cause events.Recorded) events.Proposal {
	p := events.New(k.Observed(node), after, events.PodStopping, cause.Ref(), events.Stopping{UID: "uid", GraceSeconds: 30})
	p.ID = fmt.Sprintf("01890000-0000-7000-8000-%012d", b.ids.Add(1))
	p.Source, p.Actor, p.Time = events.NodeSource(node), events.Actor("node:"+node), started
	return p
}

// must appends and returns the sequences.
func (b *bench) must(ps ...events.Proposal) []uint64 {
	b.t.Helper()
	seqs, err := b.Append(b.ctx, ps...)
	if err != nil {
		b.t.Fatalf("append: %v", err)
	}
	if len(seqs) != len(ps) {
		b.t.Fatalf("append: %d sequences for %d proposals", len(seqs), len(ps))
	}
	return seqs
}

// refuse appends, wants an error that wraps kind, and nothing recorded.
func (b *bench) refuse(kind error, ps ...events.Proposal) {
	b.t.Helper()
	before := b.head()
	if seqs, err := b.Append(b.ctx, ps...); !errors.Is(err, kind) {
		b.t.Fatalf("append: %v, %v; want %v", seqs, err, kind)
	}
	if after := b.head(); after != before {
		b.t.Fatalf("refused append moved the head from %d to %d", before, after)
	}
}

func (b *bench) head() uint64 {
	b.t.Helper()
	head, err := b.Head(b.ctx)
	if err != nil {
		b.t.Fatalf("head: %v", err)
	}
	return head
}

var errEnough = errors.New("read enough")

// read returns the events from a sequence up to another one.
func (b *bench) read(from, to uint64) []events.Recorded {
	b.t.Helper()
	var got []events.Recorded
	if from > to {
		return nil
	}
	err := b.Read(b.ctx, from, func(r events.Recorded, head uint64) error {
		if head < r.Seq {
			b.t.Errorf("at sequence %d the head is said to be %d", r.Seq, head)
		}
		got = append(got, r)
		if r.Seq >= to {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		b.t.Fatalf("read: %v", err)
	}
	return got
}

// same wants a recorded event to be exactly what was proposed.
func (b *bench) same(got events.Recorded, p events.Proposal, seq uint64) {
	b.t.Helper()
	want := p.Event
	want.Time = want.Time.UTC().Round(0)
	if got.Seq != seq || !reflect.DeepEqual(got.Event, want) {
		b.t.Errorf("recorded\n%+v\nat %d, want\n%+v\nat %d", got.Event, got.Seq, want, seq)
	}
	if got.Stored.IsZero() || got.Stored.Location() != time.UTC {
		b.t.Errorf("stored at %v, want a time in UTC", got.Stored)
	}
}

// equal wants the sequences to be the same.
func (b *bench) equal(got, want []uint64) {
	b.t.Helper()
	if !reflect.DeepEqual(got, want) {
		b.t.Fatalf("sequences %v, want %v", got, want)
	}
}

// group runs functions at once and keeps the first error.
type group struct {
	wg   sync.WaitGroup
	once sync.Once
	err  error
}

func (g *group) run(fn func() error) {
	g.wg.Go(func() {
		if err := fn(); err != nil {
			g.once.Do(func() { g.err = err })
		}
	})
}

func (g *group) wait() error {
	g.wg.Wait()
	return g.err
}
