package controlplane

import (
	"context"
	"errors"
	"fmt"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// PastLog is what is needed of a log to fold it anew.
type PastLog interface {
	// Head is the sequence of the last event, 0 if there is none.
	Head(ctx context.Context) (uint64, error)
	// At returns the event with a sequence; ok is false if there is none.
	At(ctx context.Context, seq uint64) (r events.Recorded, ok bool, err error)
	// Read is as in [events.Log].
	Read(ctx context.Context, from uint64, fn func(r events.Recorded, head uint64) error) error
}

// Report says whether a World is what the log folds to.
type Report struct {
	OK   bool   `json:"ok"`
	From uint64 `json:"from"` // the first event that was folded; 0 if there is none
	To   uint64 `json:"to"`   // the last: the sequence that both Worlds are at
	// Hash is that of the World that is served, and Tables are those of its parts.
	Hash   string            `json:"hash"`
	Tables map[string]string `json:"tables"`
	// Refolded is the hash of the log folded anew, if it is another.
	Refolded string `json:"refolded,omitempty"`
	// Problem is why the log could not be folded to the same sequence, if so.
	Problem string `json:"problem,omitempty"`
	// FirstDifference is null if there is none.
	FirstDifference *projections.Difference `json:"firstDifference"`
}

// Verify folds the log from its first event to the sequence of a World, and holds
// the one against the other. It returns the World that it folded too, or nil if
// the log cannot be folded so far, which the report then tells. Errors are about
// asking the log, and say nothing of the World. Both Worlds are in memory for as
// long as it takes.
func Verify(ctx context.Context, log PastLog, served *projections.World) (Report, *projections.World, error) {
	hashes, err := served.Hash()
	if err != nil {
		return Report{}, nil, fmt.Errorf("hash the world: %w", err)
	}
	report := Report{From: min(1, served.Seq()), To: served.Seq(), Hash: hashes.Total, Tables: hashes.Tables}
	refolded, err := refold(ctx, log, served.Seq())
	var problem *problemError
	switch {
	case errors.As(err, &problem):
		report.Problem = problem.Error()
		return report, nil, nil
	case err != nil:
		return Report{}, nil, fmt.Errorf("fold the log: %w", err)
	}
	again, err := refolded.Hash()
	if err != nil {
		return Report{}, nil, fmt.Errorf("hash the refolded world: %w", err)
	}
	report.FirstDifference = served.Differs(refolded)
	report.OK = again.Total == hashes.Total && report.FirstDifference == nil
	if !report.OK {
		report.Refolded = again.Total
	}
	return report, refolded, nil
}

// problemError says that the log does not lead to where the World is.
type problemError struct{ text string }

func (e *problemError) Error() string { return e.text }

func problem(format string, args ...any) error { return &problemError{fmt.Sprintf(format, args...)} }

// errThere ends the reading of the log.
var errThere = errors.New("the sequence is reached")

// refold folds the log from the first event to one that was folded before.
func refold(ctx context.Context, log PastLog, to uint64) (*projections.World, error) {
	w := projections.Empty()
	if to == 0 {
		return w, nil
	}
	head, err := log.Head(ctx)
	switch {
	case err != nil:
		return nil, err
	case head < to:
		return nil, problem("the log ends at event %d, the World is at %d", head, to)
	}
	// Reading would wait for the next event if the last one were not there.
	switch _, ok, err := log.At(ctx, to); {
	case err != nil:
		return nil, err
	case !ok:
		return nil, problem("event %d can no longer be read", to)
	}
	err = log.Read(ctx, 1, func(r events.Recorded, _ uint64) error {
		if r.Seq <= to {
			w, _ = w.Fold(r)
		}
		if r.Seq >= to {
			return errThere
		}
		return nil
	})
	switch {
	case errors.Is(err, errThere):
		return w, nil
	case errors.Is(err, events.ErrGap):
		return nil, problem("%v", err)
	default:
		return nil, err
	}
}
