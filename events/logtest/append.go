package logtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"periplus.dev/events"
)

func testEmpty(t *testing.T, b *bench) {
	if head := b.head(); head != 0 {
		t.Errorf("head of an empty log is %d", head)
	}
	if r, ok, err := b.Last(b.ctx, key(1).Wanted()); ok || err != nil {
		t.Errorf("last of nothing: %+v, %v, %v", r, ok, err)
	}
	for _, seq := range []uint64{0, 1, 99} {
		if r, ok, err := b.At(b.ctx, seq); ok || err != nil {
			t.Errorf("event %d of an empty log: %+v, %v, %v", seq, r, ok, err)
		}
	}
	if seqs, err := b.Append(b.ctx); len(seqs) != 0 || err != nil {
		t.Errorf("append of nothing: %v, %v", seqs, err)
	}
}

func testAppend(t *testing.T, b *bench) {
	first := b.propose(key(1), events.FactCreated, 0)
	b.equal(b.must(first), []uint64{1})
	second := b.propose(key(1), events.FactDataChanged, 1)
	b.equal(b.must(second), []uint64{2})
	if head := b.head(); head != 2 {
		t.Errorf("head is %d, want 2", head)
	}
	last, ok, err := b.Last(b.ctx, key(1).Wanted())
	if err != nil || !ok {
		t.Fatalf("last: %v, %v", ok, err)
	}
	b.same(last, second, 2)
	at, ok, err := b.At(b.ctx, 1)
	if err != nil || !ok {
		t.Fatalf("event 1: %v, %v", ok, err)
	}
	b.same(at, first, 1)
	all := b.read(1, 2)
	if len(all) != 2 {
		t.Fatalf("read %d events, want 2", len(all))
	}
	b.same(all[0], first, 1)
	b.same(all[1], second, 2)
	if at.Stored != all[0].Stored {
		t.Errorf("event 1 was stored at %v by At, at %v by Read", at.Stored, all[0].Stored)
	}
}

func testConflict(_ *testing.T, b *bench) {
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactDataChanged, 1)) // of what is not there
	b.must(b.propose(key(1), events.FactCreated, 0))
	b.must(b.propose(key(2), events.FactCreated, 0))
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactCreated, 0))     // name is taken
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactDataChanged, 2)) // another subject's sequence
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactDataChanged, 9)) // from the future
	b.must(b.propose(key(1), events.FactDataChanged, 1))
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactDataChanged, 1)) // out of date
}

func testNameUsedAgain(_ *testing.T, b *bench) {
	b.must(b.propose(key(1), events.FactCreated, 0))
	b.must(b.propose(key(1), events.FactDeleted, 1))
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactDataChanged, 1)) // of the old one
	b.equal(b.must(b.propose(key(1), events.FactCreated, 0)), []uint64{3})
	b.refuse(events.ErrConflict, b.propose(key(1), events.FactCreated, 0))
	b.must(b.propose(key(1), events.FactDeleted, 3))
	b.equal(b.must(b.propose(key(1), events.FactCreated, 4)), []uint64{5}) // its author knew of the end
}

func testNameUsedAgainInBatch(_ *testing.T, b *bench) {
	b.must(b.propose(key(1), events.FactCreated, 0))
	b.must(b.propose(key(1), events.FactDeleted, 1))
	b.must(b.propose(key(2), events.FactCreated, 0))
	b.equal(b.must(
		b.propose(key(1), events.FactCreated, 0),
		b.propose(key(2), events.FactDataChanged, 3),
		b.propose(key(3), events.FactCreated, 0),
	), []uint64{4, 5, 6})
	b.must(b.propose(key(3), events.FactDeleted, 6))
	b.refuse(events.ErrConflict,
		b.propose(key(3), events.FactCreated, 0),
		b.propose(key(2), events.FactCreated, 0), // is alive
	)
}

func testHalvesAreApart(t *testing.T, b *bench) {
	pod := events.Key{Resource: "pods", Namespace: "default", Name: "web"}
	b.must(b.propose(key(1), events.FactCreated, 0))
	cause, _, err := b.At(b.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.must(b.observe(pod, "n1", 0, cause))
	b.must(b.observe(pod, "n2", 0, cause)) // each observer has a subject of its own
	b.refuse(events.ErrConflict, b.observe(pod, "n1", 3, cause))
	p := b.observe(pod, "n1", 2, cause)
	b.must(p)
	last, ok, err := b.Last(b.ctx, pod.Observed("n1"))
	if err != nil || !ok {
		t.Fatalf("last: %v, %v", ok, err)
	}
	b.same(last, p, 4)
	if _, ok, err := b.Last(b.ctx, pod.Wanted()); ok || err != nil {
		t.Errorf("the desired half has a last event: %v, %v", ok, err)
	}
}

func testBatchIsContiguous(_ *testing.T, b *bench) {
	b.must(b.propose(key(0), events.FactCreated, 0))
	var batch []events.Proposal
	var want []uint64
	for n := range 50 {
		batch = append(batch, b.propose(key(n+1), events.FactCreated, 0))
		want = append(want, uint64(n)+2)
	}
	b.equal(b.must(batch...), want)
	for i, r := range b.read(2, 51) {
		b.same(r, batch[i], want[i])
	}
}

func testBatchIsAllOrNone(t *testing.T, b *bench) {
	b.must(b.propose(key(2), events.FactCreated, 0))
	b.refuse(events.ErrConflict,
		b.propose(key(1), events.FactCreated, 0),
		b.propose(key(2), events.FactCreated, 0), // is there
		b.propose(key(3), events.FactCreated, 0),
	)
	for _, n := range []int{1, 3} {
		if _, ok, err := b.Last(b.ctx, key(n).Wanted()); ok || err != nil {
			t.Errorf("part of a refused batch is there: %v, %v", ok, err)
		}
	}
	invalid := b.propose(key(4), events.FactCreated, 0)
	invalid.Source = events.NodeSource("n1")
	b.refuse(events.ErrInvalid, b.propose(key(1), events.FactCreated, 0), invalid)
}

func testBatchChecksFirstOfSubject(_ *testing.T, b *bench) {
	b.equal(b.must(
		b.propose(key(1), events.FactCreated, 0),
		b.propose(key(1), events.FactDataChanged, 0),
		b.propose(key(2), events.FactCreated, 0),
		b.propose(key(1), events.FactDeleted, 0),
	), []uint64{1, 2, 3, 4})
	b.refuse(events.ErrConflict,
		b.propose(key(2), events.FactDataChanged, 1),
		b.propose(key(2), events.FactDataChanged, 3),
	)
	b.must(b.propose(key(2), events.FactDataChanged, 3))
}

func testRepeat(t *testing.T, b *bench) {
	p := b.propose(key(1), events.FactCreated, 0)
	first := b.must(p)
	b.equal(b.must(p), first)
	q := b.propose(key(1), events.FactDataChanged, first[0])
	second := b.must(q)
	b.equal(b.must(q), second)
	if head := b.head(); head != 2 {
		t.Errorf("head is %d after two events, each appended twice", head)
	}
}

func testRepeatAfterOthers(t *testing.T, b *bench) {
	p := b.propose(key(1), events.FactCreated, 0)
	b.must(p)
	q := b.propose(key(1), events.FactDataChanged, 1)
	b.must(q)
	b.must(b.propose(key(1), events.FactDataChanged, 2))
	b.must(b.propose(key(1), events.FactDeleted, 3))
	b.equal(b.must(p), []uint64{1})
	b.equal(b.must(q), []uint64{2})
	if head := b.head(); head != 4 {
		t.Errorf("head is %d, want 4", head)
	}
}

func testRepeatBatch(t *testing.T, b *bench) {
	batch := []events.Proposal{
		b.propose(key(1), events.FactCreated, 0),
		b.propose(key(2), events.FactCreated, 0),
		b.propose(key(1), events.FactDataChanged, 0),
	}
	first := b.must(batch...)
	b.equal(b.must(batch...), first)
	b.must(b.propose(key(2), events.FactDataChanged, 2)) // one of its subjects moves on
	b.equal(b.must(batch...), first)
	b.must(b.propose(key(1), events.FactDataChanged, 3)) // so does the other
	b.equal(b.must(batch...), first)
	if head := b.head(); head != 5 {
		t.Errorf("head is %d, want 5", head)
	}
}

func testRepeatInOtherGroups(t *testing.T, b *bench) {
	p, q, r := b.propose(key(1), events.FactCreated, 0), b.propose(key(2), events.FactCreated, 0), b.propose(key(3), events.FactCreated, 0)
	b.must(p, q)
	b.equal(b.must(q), []uint64{2})
	b.equal(b.must(p), []uint64{1})
	b.equal(b.must(p, r, q), []uint64{1, 3, 2})
	if head := b.head(); head != 3 {
		t.Errorf("head is %d, want 3", head)
	}
}

func testInvalid(_ *testing.T, b *bench) {
	b.must(b.propose(key(0), events.FactCreated, 0))
	for name, spoil := range map[string]func(*events.Proposal){
		"unknown type":    func(p *events.Proposal) { p.Type = "dev.periplus.configmap.updated.v1" },
		"foreign source":  func(p *events.Proposal) { p.Source = events.ReconcilerSource("garbage") },
		"other half":      func(p *events.Proposal) { p.Subject.Half = events.Actual },
		"no id":           func(p *events.Proposal) { p.ID = "" },
		"no time":         func(p *events.Proposal) { p.Time = time.Time{} },
		"no cause":        func(p *events.Proposal) { p.Actor = "reconciler:garbage" },
		"payload no JSON": func(p *events.Proposal) { p.Data = []byte("{") },
		"not UTF-8":       func(p *events.Proposal) { p.Reason = "\xff" },
		"name not UTF-8":  func(p *events.Proposal) { p.Subject.Key.Name = "\xff" },
		"no name":         func(p *events.Proposal) { p.Subject.Key.Name = "" },
	} {
		b.t.Run(name, func(t *testing.T) {
			p := b.propose(key(1), events.FactCreated, 0)
			spoil(&p)
			if _, err := b.Append(b.ctx, p); !errors.Is(err, events.ErrInvalid) {
				t.Errorf("append: %v, want %v", err, events.ErrInvalid)
			}
		})
	}
	twice := b.propose(key(2), events.FactCreated, 0)
	again := b.propose(key(3), events.FactCreated, 0)
	again.ID = twice.ID
	b.refuse(events.ErrInvalid, twice, again)
}

func testTooLarge(_ *testing.T, b *bench) {
	p := b.propose(key(1), events.FactCreated, 0)
	p.Data = []byte(`"` + strings.Repeat("x", events.MaxDataBytes-2) + `"`)
	b.must(p)
	q := b.propose(key(2), events.FactCreated, 0)
	q.Data = []byte(`"` + strings.Repeat("x", events.MaxDataBytes-1) + `"`)
	b.refuse(events.ErrTooLarge, q)
	b.refuse(events.ErrTooLarge, b.propose(key(3), events.FactCreated, 0), q)
	wordy := b.propose(key(4), events.FactCreated, 0)
	wordy.Reason = strings.Repeat("because ", 8<<10)
	b.refuse(events.ErrTooLarge, wordy)
	var many []events.Proposal
	for n := range 1001 {
		many = append(many, b.propose(key(n+10), events.FactCreated, 0))
	}
	b.refuse(events.ErrTooLarge, many...)
	b.must(many[:1000]...)
}

func testCancelled(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	p := b.propose(key(1), events.FactCreated, 0)
	if _, err := b.Append(ctx, p); err == nil || errors.Is(err, events.ErrConflict) {
		t.Errorf("append with an ended context: %v", err)
	}
	b.equal(b.must(p), []uint64{1}) // whatever its outcome was
	if err := b.Read(ctx, 1, func(events.Recorded, uint64) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("read with an ended context: %v", err)
	}
}

func testAnyText(t *testing.T, b *bench) {
	for i, text := range []string{"plain", "two words", `say "no"`, "100 % done", "naïve 字 🙂", " edges ", "line\nbreak\ttab\r\n", "a:b;c=d,e", "%41"} {
		p := b.propose(events.Key{Group: "a.b", Resource: "configmaps", Namespace: "n s", Name: text + ".*>"}, events.FactCreated, 0)
		p.Reason, p.Actor, p.Trace = text, events.Actor("user:"+text), text
		p.Data = []byte(`{ "kept" :  "as it is" }`)
		seq := b.must(p)[0]
		if seq != uint64(i)+1 {
			t.Fatalf("sequence %d, want %d", seq, i+1)
		}
		r, ok, err := b.Last(b.ctx, p.Subject)
		if err != nil || !ok {
			t.Fatalf("last of %q: %v, %v", text, ok, err)
		}
		b.same(r, p, seq)
		n := 0
		if err := b.Of(b.ctx, p.Subject.Key, func(r events.Recorded) error { n++; b.same(r, p, seq); return nil }); err != nil || n != 1 {
			t.Errorf("%d events of %q, %v; want 1", n, text, err)
		}
	}
}
