package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"periplus.dev/events"
)

// disk stands for the server: one publish at a time, each takes a sync.
type disk struct {
	busy    chan struct{} // a mutex that the bubble's clock understands
	seq     uint64
	got     map[string]int // how often each id was recorded
	batches int
	refuse  bool  // refuse the next batches
	fail    error // outcome of the next batches
}

func (d *disk) publish(ctx context.Context, writes []write) ([]uint64, error) {
	d.busy <- struct{}{}
	defer func() { <-d.busy }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(writes) > 1 {
		d.batches++
		time.Sleep(7 * time.Millisecond) // the bubble's clock
		if d.refuse {
			return nil, errRefused
		}
		if d.fail != nil {
			return nil, d.fail
		}
	} else {
		time.Sleep(time.Millisecond)
	}
	var seqs []uint64
	for _, w := range writes {
		d.seq++
		d.got[w.ID]++
		seqs = append(seqs, d.seq)
	}
	return seqs, nil
}

func (d *disk) joiner(from int) *joiner {
	d.got, d.busy = map[string]int{}, make(chan struct{}, 1)
	return &joiner{publish: d.publish, commit: d.publish, from: from, timeout: time.Minute}
}

func testWrite(id int) write {
	return write{Proposal: events.Proposal{Event: events.Event{ID: fmt.Sprint(id)}}, subject: fmt.Sprint("s", id)}
}

// race has many callers append many writes each and counts the errors.
func race(t *testing.T, j *joiner, callers, each int) (failed int) {
	t.Helper()
	var g errgroup.Group
	var mu sync.Mutex
	seen := map[uint64]bool{}
	for c := range callers {
		g.Go(func() error {
			for n := range each {
				seqs, err := j.append(t.Context(), testWrite(c*each+n))
				mu.Lock()
				switch {
				case err != nil:
					failed++
				case len(seqs) != 1 || seen[seqs[0]]:
					t.Errorf("sequences %v, given before: %v", seqs, seen[seqs[0]])
				default:
					seen[seqs[0]] = true
				}
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	return failed
}

func TestJoinerJoins(t *testing.T) {
	for _, test := range []struct {
		name          string
		callers, from int
		refuse        bool
		batches       bool
	}{
		{"few", 8, 20, false, false},
		{"many", 64, 20, false, true},
		{"many but never", 64, -1, false, false},
		{"many in conflict", 64, 20, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{refuse: test.refuse}
				began := time.Now()
				if failed := race(t, d.joiner(test.from), test.callers, 50); failed != 0 {
					t.Errorf("%d appends failed", failed)
				}
				if want := test.callers * 50; len(d.got) != want || int(d.seq) != want {
					t.Errorf("%d events recorded, %d different, want %d", d.seq, len(d.got), want)
				}
				if (d.batches > 0) != test.batches {
					t.Errorf("%d batches", d.batches)
				}
				if took := time.Since(began); test.batches && !test.refuse && took > time.Second {
					t.Errorf("took %s: joining does not help", took)
				}
			})
		})
	}
}

func TestJoinerUnknownOutcomeReachesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{fail: context.DeadlineExceeded}
		if failed := race(t, d.joiner(2), 10, 1); failed != 9 {
			t.Errorf("%d appends failed, want the 9 that were joined", failed)
		}
	})
}

func TestJoinerCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		j := d.joiner(20)
		var g errgroup.Group
		g.Go(func() error { _, err := j.append(t.Context(), testWrite(1)); return err })
		synctest.Wait() // the first is being published
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { _, err := j.append(ctx, testWrite(2)); left <- err }()
		synctest.Wait() // the second waits
		cancel()
		if err := <-left; !errors.Is(err, events.ErrTemporary) || !errors.Is(err, context.Canceled) {
			t.Errorf("who left the line got %v", err)
		}
		if err := g.Wait(); err != nil || d.got["2"] != 0 {
			t.Errorf("first: %v, recorded: %v", err, d.got)
		}
		if seqs, err := j.append(t.Context(), testWrite(3)); err != nil || seqs[0] != 2 {
			t.Errorf("afterwards: %v, %v", seqs, err)
		}
	})
}

// TestJoinerKeepsSubjectsApart: the server checks only the first write of a
// subject in a batch, so a batch of strangers may hold but one.
func TestJoinerKeepsSubjectsApart(t *testing.T) {
	j := (&disk{}).joiner(2)
	j.waiting = []*call{{write: testWrite(1)}, {write: testWrite(2)}, {write: testWrite(1)}, {write: testWrite(3)}}
	if round := j.next(); len(round) != 3 || len(j.waiting) != 1 || j.waiting[0].write.subject != "s1" {
		t.Errorf("round of %d, %d wait", len(round), len(j.waiting))
	}
}
