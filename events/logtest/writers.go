package logtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"periplus.dev/events"
)

const (
	writers = 8
	keys    = 20
	rounds  = 40 // of each writer
)

// ledger is what the writers were told.
type ledger struct {
	mu    sync.Mutex
	acked map[uint64]events.Proposal
}

func (l *ledger) note(seqs []uint64, ps []events.Proposal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, seq := range seqs {
		if p, taken := l.acked[seq]; taken {
			return fmt.Errorf("sequence %d was given to %s and to %s", seq, p.ID, ps[i].ID)
		}
		l.acked[seq] = ps[i]
	}
	return nil
}

// write makes one writer's changes, alone or two objects at once, each with the
// last sequence it sees, and drops what loses a race.
func (b *bench) write(ctx context.Context, rnd *rand.Rand, l *ledger) error {
	for range rounds {
		picked := rnd.Perm(keys)[:1+rnd.IntN(2)]
		var ps []events.Proposal
		for _, n := range picked {
			last, ok, err := b.Last(ctx, key(n).Wanted())
			if err != nil {
				return err
			}
			fact := events.FactDataChanged
			if !ok {
				fact = events.FactCreated
			}
			ps = append(ps, b.propose(key(n), fact, last.Seq))
		}
		seqs, err := b.Append(ctx, ps...)
		if errors.Is(err, events.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		if err := l.note(seqs, ps); err != nil {
			return err
		}
	}
	return nil
}

// writeAll runs the writers and returns what they were told.
func (b *bench) writeAll() map[uint64]events.Proposal {
	b.t.Helper()
	l := &ledger{acked: map[uint64]events.Proposal{}}
	var g group
	for w := range writers {
		g.run(func() error { return b.write(b.ctx, rand.New(rand.NewPCG(1, uint64(w))), l) })
	}
	if err := g.wait(); err != nil {
		b.t.Fatalf("write: %v", err)
	}
	return l.acked
}

// testWriters: what is in the log is exactly what was acknowledged, where it was
// acknowledged, and each event of a subject follows the one its author had seen.
func testWriters(t *testing.T, b *bench) {
	acked := b.writeAll()
	head := b.head()
	if head != uint64(len(acked)) || head < writers*rounds/4 {
		t.Fatalf("head is %d, %d events were acknowledged", head, len(acked))
	}
	last := map[events.Subject]uint64{}
	for i, r := range b.read(1, head) {
		if r.Seq != uint64(i)+1 {
			t.Fatalf("sequence %d in place %d", r.Seq, i+1)
		}
		p, ok := acked[r.Seq]
		if !ok {
			t.Fatalf("event %d was never acknowledged", r.Seq)
		}
		b.same(r, p, r.Seq)
		if p.After != last[r.Subject] {
			t.Errorf("event %d of %s was to follow %d, and follows %d", r.Seq, r.Subject, p.After, last[r.Subject])
		}
		last[r.Subject] = r.Seq
	}
}

// testFollowersAndWriters: every follower sees every event once, in order, while
// it is written.
func testFollowersAndWriters(t *testing.T, b *bench) {
	const followers = 3
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	seen := make([][]string, followers)
	var g group
	for f := range followers {
		g.run(func() error {
			return b.Read(ctx, 1, func(r events.Recorded, _ uint64) error {
				seen[f] = append(seen[f], r.ID)
				if r.Seq != uint64(len(seen[f])) {
					return fmt.Errorf("follower %d read %d in place %d", f, r.Seq, len(seen[f]))
				}
				if r.Type == events.ClusterInitialized { // the mark at the end
					return errEnough
				}
				return nil
			})
		})
	}
	acked := b.writeAll()
	mark := b.propose(events.Key{Resource: "clusters", Name: "mark"}, events.FactCreated, 0)
	mark.Type = events.ClusterInitialized
	end := b.must(mark)[0]
	if err := g.wait(); !errors.Is(err, errEnough) {
		t.Fatalf("follow: %v", err)
	}
	acked[end] = mark
	for f := range seen {
		if len(seen[f]) != len(acked) {
			t.Errorf("follower %d saw %d events of %d", f, len(seen[f]), len(acked))
		}
		for i, id := range seen[f] {
			if acked[uint64(i)+1].ID != id {
				t.Fatalf("follower %d saw %s at %d, want %s", f, id, i+1, acked[uint64(i)+1].ID)
			}
		}
	}
}
