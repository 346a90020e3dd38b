package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"periplus.dev/events"
)

// joiner lets single appends that come at once share a sync of the disk.
//
// It works in rounds. While the writes of a round are on their way, newcomers
// wait; they are the next round. A round of few goes out one by one, which the
// server acknowledges after a sync each; a round of many goes out as one atomic
// batch with one sync. No goroutine is started: a caller publishes for itself,
// or the first of the round publishes for all.
//
//	idle ─ append ─→ round of one ─ last of it done ─→ idle, if nobody waits
//	                                                └→ round of those who wait
//
// A batch that is refused says nothing about its members, so they then go one by
// one, and so do the next rounds: where there is contention there will be more.
type joiner struct {
	commit  func(context.Context, []write) ([]uint64, error) // publish, and find out why if refused
	publish func(context.Context, []write) ([]uint64, error)
	from    int           // size of a round from which it is a batch; negative for never
	timeout time.Duration // of a batch

	mu      sync.Mutex
	active  int     // turns of the current round that are not over
	waiting []*call // next round, in order of arrival
	singly  int     // how many rounds are to go one by one
}

// roundsSingly is how many rounds go one by one after a refused batch.
const roundsSingly = 8

// maxJoined bounds a batch of strangers, and so the time they wait for each other.
const maxJoined = 256

// call is one append that waits.
type call struct {
	write write
	turn  chan []*call    // its turn to publish, for itself and for those listed
	done  chan callAnswer // another has published for it
}

type callAnswer struct {
	seq uint64
	err error
}

// append records one write.
func (j *joiner) append(ctx context.Context, w write) ([]uint64, error) {
	if j.from < 0 {
		return j.commit(ctx, []write{w}) // there is nothing to wait for
	}
	c := j.enter(w)
	if c == nil {
		return j.alone(ctx, w)
	}
	select {
	case others := <-c.turn:
		return j.take(ctx, c, others)
	case a := <-c.done:
		return a.result()
	case <-ctx.Done():
	}
	if j.leave(c) {
		return nil, fmt.Errorf("wait for other appends: %w: %w", events.ErrTemporary, ctx.Err())
	}
	select { // the turn was given at the same moment
	case others := <-c.turn:
		return j.take(ctx, c, others)
	default:
		return nil, ctx.Err() // another publishes it: the outcome is unknown
	}
}

func (a callAnswer) result() ([]uint64, error) {
	if a.err != nil {
		return nil, a.err
	}
	return []uint64{a.seq}, nil
}

// enter returns nil if it is the caller's turn at once.
func (j *joiner) enter(w write) *call {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active == 0 {
		j.active = 1
		return nil
	}
	c := &call{write: w, turn: make(chan []*call, 1), done: make(chan callAnswer, 1)}
	j.waiting = append(j.waiting, c)
	return c
}

// leave takes the call out of the line; false if it is no longer in it.
func (j *joiner) leave(c *call) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	i := slices.Index(j.waiting, c)
	if i < 0 {
		return false
	}
	j.waiting = slices.Delete(j.waiting, i, i+1)
	return true
}

func (j *joiner) alone(ctx context.Context, w write) ([]uint64, error) {
	defer j.over()
	return j.commit(ctx, []write{w})
}

// take is a call's turn: alone, or for the others too.
func (j *joiner) take(ctx context.Context, c *call, others []*call) ([]uint64, error) {
	if len(others) == 0 {
		return j.alone(ctx, c.write)
	}
	writes := []write{c.write}
	for _, o := range others {
		writes = append(writes, o.write)
	}
	// The others' fate must not hang on this caller's patience.
	shared, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.timeout)
	defer cancel()
	seqs, err := j.publish(shared, writes)
	if errors.Is(err, errRefused) {
		j.scatter(others)
		return j.alone(ctx, c.write)
	}
	defer j.over()
	for i, o := range others {
		if err != nil {
			o.done <- callAnswer{err: err}
		} else {
			o.done <- callAnswer{seq: seqs[i+1]}
		}
	}
	if err != nil {
		return nil, err
	}
	return seqs[:1], nil
}

// scatter gives each of the others a turn of its own in the same round.
func (j *joiner) scatter(others []*call) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.singly = roundsSingly
	j.active += len(others)
	for _, o := range others {
		o.turn <- nil
	}
}

// over ends a turn, and with the last one of the round starts the next.
func (j *joiner) over() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.active--; j.active > 0 || len(j.waiting) == 0 {
		return
	}
	if len(j.waiting) < j.from || j.singly > 0 {
		j.singly = max(j.singly-1, 0)
		j.active = len(j.waiting)
		for _, c := range j.waiting {
			c.turn <- nil
		}
		j.waiting = nil
		return
	}
	round := j.next()
	j.active = 1
	round[0].turn <- round[1:]
}

// next takes from the line what may share a batch: one write of each subject,
// because the server checks only the first, and not too much.
func (j *joiner) next() []*call {
	var round, later []*call
	subjects, size := map[string]bool{}, 0
	for _, c := range j.waiting {
		n := size + len(c.write.Data)
		if subjects[c.write.subject] || len(round) == maxJoined || len(round) > 0 && n > MaxBatchBytes {
			later = append(later, c)
			continue
		}
		subjects[c.write.subject], size = true, n
		round = append(round, c)
	}
	j.waiting = later
	return round
}
