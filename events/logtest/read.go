package logtest

import (
	"context"
	"errors"
	"testing"

	"periplus.dev/events"
)

func testReadThenFollow(t *testing.T, b *bench) {
	var want []events.Proposal
	add := func(n int) {
		p := b.propose(key(n), events.FactCreated, 0)
		b.must(p)
		want = append(want, p)
	}
	for n := range 10 {
		add(n)
	}
	const from, to = 4, 20
	caughtUp := make(chan struct{})
	got := make(chan events.Recorded, to)
	var g group
	g.run(func() error {
		return b.Read(b.ctx, from, func(r events.Recorded, head uint64) error {
			got <- r
			if head < r.Seq || head > to {
				t.Errorf("at sequence %d the head is said to be %d", r.Seq, head)
			}
			if r.Seq == 10 {
				if head != 10 {
					t.Errorf("at the head, sequence 10, the head is said to be %d", head)
				}
				close(caughtUp)
			}
			if r.Seq == to {
				return errEnough
			}
			return nil
		})
	})
	select {
	case <-caughtUp:
	case <-b.ctx.Done():
		t.Fatal("what is recorded was not read")
	}
	for n := 10; n < to; n++ {
		add(n)
	}
	if err := g.wait(); !errors.Is(err, errEnough) {
		t.Fatalf("read: %v", err)
	}
	close(got)
	seq := uint64(from)
	for r := range got {
		b.same(r, want[seq-1], seq)
		seq++
	}
	if seq != to+1 {
		t.Errorf("read up to %d, want %d", seq-1, to)
	}
}

func testReadReturnsError(t *testing.T, b *bench) {
	b.must(b.propose(key(1), events.FactCreated, 0))
	b.must(b.propose(key(2), events.FactCreated, 0))
	calls := 0
	err := b.Read(b.ctx, 1, func(events.Recorded, uint64) error { calls++; return errEnough })
	if !errors.Is(err, errEnough) || calls != 1 {
		t.Errorf("read: %v after %d calls, want fn's error after 1", err, calls)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	err = b.Read(ctx, 2, func(r events.Recorded, _ uint64) error {
		if r.Seq != 2 {
			t.Errorf("read %d, want 2", r.Seq)
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v, want the context's error", err)
	}
}

func testReadFromTheFuture(t *testing.T, b *bench) {
	b.must(b.propose(key(1), events.FactCreated, 0))
	var g group
	var got []uint64
	g.run(func() error {
		return b.Read(b.ctx, 3, func(r events.Recorded, _ uint64) error {
			got = append(got, r.Seq)
			if r.Seq == 4 {
				return errEnough
			}
			return nil
		})
	})
	for n := 2; n <= 4; n++ {
		b.must(b.propose(key(n), events.FactCreated, 0))
	}
	if err := g.wait(); !errors.Is(err, errEnough) {
		t.Fatalf("read: %v", err)
	}
	b.equal(got, []uint64{3, 4})
}

func testOf(t *testing.T, b *bench) {
	pod := events.Key{Resource: "configmaps", Namespace: "default", Name: "web"}
	other := events.Key{Resource: "configmaps", Namespace: "default", Name: "web-2"}
	b.must(b.propose(pod, events.FactCreated, 0))
	cause, _, err := b.At(b.ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.must(b.propose(other, events.FactCreated, 0))
	b.must(b.observe(pod, "n1", 0, cause))
	b.must(b.observe(pod, "n2", 0, cause))
	b.must(b.observe(other, "n1", 0, cause))
	b.must(b.propose(pod, events.FactDataChanged, 1))
	b.must(b.propose(pod, events.FactDeleted, 6))
	b.must(b.propose(pod, events.FactCreated, 0))
	var got []uint64
	if err := b.Of(b.ctx, pod, func(r events.Recorded) error {
		if r.Subject.Key != pod {
			t.Errorf("event of %s", r.Subject.Key)
		}
		got = append(got, r.Seq)
		return nil
	}); err != nil {
		t.Fatalf("history: %v", err)
	}
	b.equal(got, []uint64{1, 3, 4, 6, 7, 8})
	if err := b.Of(b.ctx, pod, func(events.Recorded) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("history: %v, want fn's error", err)
	}
	none := events.Key{Resource: "configmaps", Namespace: "default", Name: "nobody"}
	if err := b.Of(b.ctx, none, func(r events.Recorded) error { t.Errorf("event %d", r.Seq); return nil }); err != nil {
		t.Errorf("history of nothing: %v", err)
	}
}
