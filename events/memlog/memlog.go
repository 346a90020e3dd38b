// Package memlog is the log in memory, for tests and for simulation.
//
// It keeps the whole contract of [events.Log], which events/logtest checks:
// what passes on it passes on JetStream. Nothing survives the process. Faults
// that a real log has, such as an append whose answer is lost, are asked for by
// the functions in [Config].
package memlog

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"periplus.dev/events"
)

// MaxBatch is how many proposals one append may hold.
const MaxBatch = 1000

// maxTextBytes limits the attributes of one event, which a log on the network
// sends as headers.
const maxTextBytes = 48 << 10

// Config of a log. The zero value works.
type Config struct {
	// Now gives [events.Recorded.Stored]; the system clock if nil.
	Now func() time.Time
	// Fail is asked before each append, outside of every lock, so that it may
	// append itself and so provoke a conflict. Its error is what Append returns,
	// and nothing is recorded.
	Fail func([]events.Proposal) error
	// Lose is asked after each append that was recorded, outside of every lock.
	// Its error is what Append returns in place of the sequences: the answer was
	// lost on its way.
	Lose func([]events.Proposal) error
}

// Log is an [events.Log] in memory. All methods may be called concurrently.
type Log struct {
	cfg Config

	mu       sync.Mutex
	events   []events.Recorded           // events[i] has sequence i+1
	subjects map[events.Subject][]uint64 // sequences of the events of each subject
	objects  map[events.Key][]uint64     // sequences of the events of each object
	grown    chan struct{}               // closed, and replaced, when events grows
}

var _ events.Log = (*Log)(nil)

// New is an empty log.
func New(cfg Config) *Log {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Log{
		cfg:      cfg,
		subjects: map[events.Subject][]uint64{},
		objects:  map[events.Key][]uint64{},
		grown:    make(chan struct{}),
	}
}

// Append implements [events.Log].
func (l *Log) Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if err := check(proposals); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if l.cfg.Fail != nil {
		if err := l.cfg.Fail(proposals); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
	}
	seqs, err := l.record(proposals)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if l.cfg.Lose != nil {
		if err := l.cfg.Lose(proposals); err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
	}
	return seqs, nil
}

func check(proposals []events.Proposal) error {
	if len(proposals) > MaxBatch {
		return fmt.Errorf("%w: %d proposals at once, at most %d", events.ErrTooLarge, len(proposals), MaxBatch)
	}
	ids := make(map[string]bool, len(proposals))
	for _, p := range proposals {
		if err := events.Check(p); err != nil {
			return err
		}
		if err := checkText(p.Event); err != nil {
			return err
		}
		if ids[p.ID] {
			return fmt.Errorf("%w: id %s stands twice in one append", events.ErrInvalid, p.ID)
		}
		ids[p.ID] = true
	}
	return nil
}

// checkText refuses what a log on the network could not carry as it is.
func checkText(e events.Event) error {
	size := 0
	for _, text := range []string{e.ID, string(e.Source), string(e.Actor), e.Cause, e.Change, e.Reason, e.Trace, e.Subject.Key.String()} {
		if !utf8.ValidString(text) {
			return fmt.Errorf("%s for %q: %w: an attribute is not UTF-8", e.Type, e.Subject.Key, events.ErrInvalid)
		}
		size += len(text)
	}
	if size > maxTextBytes {
		return fmt.Errorf("%s for %s: %w: %d bytes of attributes, at most %d", e.Type, e.Subject.Key, events.ErrTooLarge, size, maxTextBytes)
	}
	return nil
}

// record appends what is not recorded yet, or nothing.
func (l *Log) record(proposals []events.Proposal) ([]uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seqs := l.recorded(proposals)
	written := map[events.Subject]bool{}
	for i, p := range proposals {
		if seqs[i] != 0 || written[p.Subject] {
			continue
		}
		written[p.Subject] = true
		if err := l.follows(p); err != nil {
			return nil, err
		}
	}
	grew := false
	for i, p := range proposals {
		if seqs[i] == 0 {
			seqs[i] = l.add(p)
			grew = true
		}
	}
	if grew {
		close(l.grown)
		l.grown = make(chan struct{})
	}
	return seqs, nil
}

// recorded finds the proposals that an earlier append, whose answer its author
// never saw, has recorded; the rest is 0. A proposal stands at the end of its
// subject or right behind the event it was to follow, if anywhere; and all of
// them stand side by side, if one append recorded them.
func (l *Log) recorded(proposals []events.Proposal) []uint64 {
	seqs := make([]uint64, len(proposals))
	for i, p := range proposals {
		seq := l.find(p)
		if seq == 0 {
			continue
		}
		seqs[i] = seq
		if first := int(seq) - 1 - i; l.holds(first, proposals) {
			for j := range seqs {
				seqs[j] = uint64(first+j) + 1
			}
			return seqs
		}
	}
	return seqs
}

// find returns the sequence of the event that records p, or 0.
func (l *Log) find(p events.Proposal) uint64 {
	seqs := l.subjects[p.Subject]
	if len(seqs) == 0 {
		return 0
	}
	if end := seqs[len(seqs)-1]; l.events[end-1].ID == p.ID {
		return end
	}
	if i, _ := slices.BinarySearch(seqs, p.After+1); i < len(seqs) && l.events[seqs[i]-1].ID == p.ID {
		return seqs[i]
	}
	return 0
}

// holds reports whether the events from index first on are the proposals.
func (l *Log) holds(first int, proposals []events.Proposal) bool {
	if first < 0 || first+len(proposals) > len(l.events) {
		return false
	}
	for i, p := range proposals {
		if l.events[first+i].ID != p.ID {
			return false
		}
	}
	return true
}

// follows checks the proposal's After against the state of the log.
func (l *Log) follows(p events.Proposal) error {
	seq := l.end(p.Subject)
	if p.After == seq {
		return nil
	}
	if p.After == 0 {
		if spec, _ := events.Lookup(l.events[seq-1].Type); spec.Terminal {
			return nil
		}
	}
	return fmt.Errorf("%s after %d, but its last is %d: %w", p.Subject, p.After, seq, events.ErrConflict)
}

// end is the sequence of the subject's last event, or 0.
func (l *Log) end(s events.Subject) uint64 {
	seqs := l.subjects[s]
	if len(seqs) == 0 {
		return 0
	}
	return seqs[len(seqs)-1]
}

func (l *Log) add(p events.Proposal) uint64 {
	e := p.Event
	e.Data = bytes.Clone(e.Data)
	e.Time = e.Time.UTC().Round(0)
	seq := uint64(len(l.events)) + 1
	l.events = append(l.events, events.Recorded{Event: e, Seq: seq, Stored: l.cfg.Now().UTC().Round(0)})
	l.subjects[e.Subject] = append(l.subjects[e.Subject], seq)
	l.objects[e.Subject.Key] = append(l.objects[e.Subject.Key], seq)
	return seq
}

// Read implements [events.Log].
func (l *Log) Read(ctx context.Context, from uint64, fn func(r events.Recorded, head uint64) error) error {
	next := max(from, 1)
	for {
		l.mu.Lock()
		all, grown := l.events, l.grown // what is in the slice never changes
		l.mu.Unlock()
		head := uint64(len(all))
		for ; next <= head; next++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(all[next-1], head); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

// Head implements [events.Log].
func (l *Log) Head(ctx context.Context) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.events)), nil
}

// Last implements [events.Log].
func (l *Log) Last(ctx context.Context, s events.Subject) (events.Recorded, bool, error) {
	if err := ctx.Err(); err != nil {
		return events.Recorded{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	seq := l.end(s)
	if seq == 0 {
		return events.Recorded{}, false, nil
	}
	return l.events[seq-1], true, nil
}

// Of calls fn with every event of an object that is recorded now, of both halves
// and all observers, in order. An error of fn ends it and is returned.
func (l *Log) Of(ctx context.Context, key events.Key, fn func(events.Recorded) error) error {
	l.mu.Lock()
	all, seqs := l.events, l.objects[key]
	l.mu.Unlock()
	for _, seq := range seqs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(all[seq-1]); err != nil {
			return err
		}
	}
	return nil
}

// At returns the event with a sequence; ok is false if there is none.
func (l *Log) At(ctx context.Context, seq uint64) (events.Recorded, bool, error) {
	if err := ctx.Err(); err != nil {
		return events.Recorded{}, false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq == 0 || seq > uint64(len(l.events)) {
		return events.Recorded{}, false, nil
	}
	return l.events[seq-1], true, nil
}
