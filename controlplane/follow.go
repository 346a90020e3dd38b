package controlplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Log is what this package needs of the event log.
type Log interface {
	Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error)
	Read(ctx context.Context, from uint64, fn func(r events.Recorded, head uint64) error) error
	Head(ctx context.Context) (uint64, error)
	Last(ctx context.Context, s events.Subject) (events.Recorded, bool, error)
}

// Follow folds the log into the projection, from where it is on, until ctx
// ends. Reading is taken up again after an error, but a gap in the log ends it:
// a World with a hole would be wrong for ever.
func Follow(ctx context.Context, log Log, p *projections.Projection, logger *zap.Logger) error {
	head, err := log.Head(ctx)
	if err != nil {
		return ignoreEnd(ctx, fmt.Errorf("read head of the log: %w", err))
	}
	p.CaughtUpAt(head)
	var wait backoff
	for {
		err := log.Read(ctx, p.Current().Seq()+1, func(r events.Recorded, head uint64) error {
			p.Fold(r, head)
			wait = 0
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was to end
		case errors.Is(err, events.ErrGap):
			return fmt.Errorf("follow the log: %w", err)
		}
		logger.Warn("reading the log was interrupted", zap.Uint64("seq", p.Current().Seq()), zap.Error(err))
		if !wait.sleep(ctx) {
			return nil
		}
	}
}

// backoff is a pause that doubles from 10 ms to 5 s.
type backoff time.Duration

func (b *backoff) next() time.Duration {
	*b = min(max(*b*2, backoff(10*time.Millisecond)), backoff(5*time.Second))
	return time.Duration(*b)
}

// sleep pauses; it returns false if ctx ended meanwhile.
func (b *backoff) sleep(ctx context.Context) bool {
	t := time.NewTimer(b.next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
