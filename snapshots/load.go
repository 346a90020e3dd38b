package snapshots

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Log is what a snapshot is held against.
type Log interface {
	// Head is the sequence of the last event, 0 if there is none.
	Head(ctx context.Context) (uint64, error)
	// At returns the event with a sequence; ok is false if there is none.
	At(ctx context.Context, seq uint64) (r events.Recorded, ok bool, err error)
}

// Ignored is a snapshot that was passed over.
type Ignored struct {
	File string
	Why  error
}

// AheadError says that a snapshot knows of events that the log does not have. So
// acknowledged events are gone: the log was cut, or an older copy of it was put
// in its place. Somebody has to know that before the cluster goes on without them.
type AheadError struct {
	File      string
	Seq, Head uint64 // of the snapshot, of the log
}

// Error says what to do.
func (e *AheadError) Error() string {
	return fmt.Sprintf("the log ends at event %d, but the snapshot %s was taken at event %d: the log was cut off or an older copy of it was put in its place. "+
		"Put the right log back; or, to go on without the events that are missing, move the snapshots away", e.Head, e.File, e.Seq)
}

// Load returns the World of the newest snapshot that nothing speaks against, or
// the empty World, and the newer snapshots that were passed over, with the reason.
// The error is an [AheadError], or one of reading the log or the directory.
func (s *Store) Load(ctx context.Context, log Log) (*projections.World, []Ignored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	head, err := log.Head(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("load snapshot: %w", err)
	}
	names, err := s.names()
	if err != nil {
		return nil, nil, fmt.Errorf("load snapshot: %w", err)
	}
	var ignored []Ignored
	for _, name := range names {
		w, err := s.load(ctx, name, log, head)
		var reason *unusableError
		switch {
		case err == nil:
			return w, ignored, nil
		case errors.As(err, &reason):
			s.unusable[name] = true
			ignored = append(ignored, Ignored{File: s.path(name), Why: reason.why})
		default:
			return nil, ignored, fmt.Errorf("load snapshot: %w", err)
		}
	}
	return projections.Empty(), ignored, nil
}

// unusableError is what speaks against a snapshot.
type unusableError struct{ why error }

func (e *unusableError) Error() string { return e.why.Error() }

func unusable(why error) error { return &unusableError{why: why} }

// load reads one snapshot and holds it against the log.
func (s *Store) load(ctx context.Context, name string, log Log, head uint64) (*projections.World, error) {
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, unusable(err)
	}
	defer f.Close()
	h, err := readHeader(f)
	if err != nil {
		return nil, unusable(err)
	}
	if h.Format == Format && nameOf(h.Seq) != name {
		return nil, unusable(fmt.Errorf("%w: by its header it is %s", errDamaged, nameOf(h.Seq)))
	}
	// Any version of this program can have seen what the log has lost.
	if h.Format == Format && h.Seq > head {
		return nil, &AheadError{File: s.path(name), Seq: h.Seq, Head: head}
	}
	if err := h.ours(); err != nil {
		return nil, unusable(err)
	}
	switch last, ok, err := log.At(ctx, h.Seq); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, unusable(fmt.Errorf("%w: the log has no event %d", errForeign, h.Seq))
	case last.ID != h.ID:
		return nil, unusable(fmt.Errorf("%w: event %d has the id %s there, and %s here", errForeign, h.Seq, last.ID, h.ID))
	}
	w, err := readState(f, h)
	if err != nil {
		return nil, unusable(fmt.Errorf("%w: %w", errDamaged, err))
	}
	return w, nil
}

// readState reads what is behind the header.
func readState(f *os.File, h header) (*projections.World, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if has := info.Size() - headerSize; has != h.Bytes {
		return nil, fmt.Errorf("it has %d bytes of state, of %d", has, h.Bytes)
	}
	sum := sha256.New()
	w, err := projections.Decode(io.TeeReader(f, sum), atOnce)
	if err != nil {
		return nil, err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.SHA256 {
		return nil, fmt.Errorf("the sha256 of its state is %s, not %s", got, h.SHA256)
	}
	if w.Seq() != h.Seq || w.ID() != h.ID {
		return nil, fmt.Errorf("its state is at event %d, not at %d", w.Seq(), h.Seq)
	}
	return w, nil
}

// atOnce is a [projections.Both] for two cores.
func atOnce(a, b func()) {
	var other sync.WaitGroup
	other.Go(b)
	a()
	other.Wait()
}
