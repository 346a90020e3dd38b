package controlplane

import (
	"context"
	"time"

	"go.uber.org/zap"

	"periplus.dev/projections"
)

// When a snapshot is due: after so long, if anything happened, or so many events.
const (
	SnapshotPeriod = 30 * time.Second
	SnapshotEvents = 50_000
)

// maxTail is how many events a start may have to fold after a clean end; it takes
// a few hundredths of a second.
const maxTail = 10_000

// restFactor keeps the writing of snapshots below a twentieth of a core.
const restFactor = 19

// SnapshotterConfig is what a Snapshotter needs; all fields down to Logger are
// required.
type SnapshotterConfig struct {
	World *projections.Projection
	// Save writes an immutable World durably.
	Save   func(*projections.World) error
	Now    func() time.Time
	Logger *zap.Logger

	Period time.Duration // SnapshotPeriod if 0
	Events uint64        // SnapshotEvents if 0
	// Settle is how long a World waits before it is written, so that a snapshot
	// never knows of an event that a loss of power can take out of the log.
	Settle time.Duration
}

// Snapshotter has a World written now and then, so that a start need not fold
// the whole log. It holds nobody up: what is written is a World that does not
// change, and the fold goes on meanwhile.
type Snapshotter struct {
	SnapshotterConfig

	saved uint64 // sequence of the newest snapshot
}

// NewSnapshotter makes a Snapshotter; the World that the projection began with is
// taken as written.
func NewSnapshotter(cfg SnapshotterConfig) *Snapshotter {
	if cfg.Period <= 0 {
		cfg.Period = SnapshotPeriod
	}
	if cfg.Events == 0 {
		cfg.Events = SnapshotEvents
	}
	return &Snapshotter{SnapshotterConfig: cfg, saved: cfg.World.Current().Seq()}
}

// Run has snapshots written until ctx ends, and a last one then, if the next
// start would have much to fold. A snapshot that cannot be written is reported and
// tried again when the next is due: the log has everything.
func (s *Snapshotter) Run(ctx context.Context) error {
	select {
	case <-s.World.CaughtUp():
	case <-ctx.Done():
		return nil
	}
	var rest time.Duration
	for {
		w, err := s.due(ctx, rest)
		if err == nil {
			err = pause(ctx, s.Settle)
		}
		if err != nil {
			if w := s.World.Current(); s.Settle == 0 && w.Seq() > s.saved+maxTail {
				s.save(w)
			}
			return nil
		}
		begun := s.Now()
		s.save(w)
		rest = restFactor * s.Now().Sub(begun)
	}
}

// due waits until a snapshot is and at least so long. The error says that ctx ended.
func (s *Snapshotter) due(ctx context.Context, rest time.Duration) (*projections.World, error) {
	if err := pause(ctx, rest); err != nil {
		return nil, err
	}
	for {
		period, cancel := context.WithTimeout(ctx, s.Period)
		_, err := s.World.Await(period, s.saved+s.Events)
		cancel()
		w := s.World.Current()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == nil, w.Seq() > s.saved:
			return w, nil
		}
	}
}

func (s *Snapshotter) save(w *projections.World) {
	if err := s.Save(w); err != nil {
		s.Logger.Warn("a snapshot could not be written", zap.Uint64("seq", w.Seq()), zap.Error(err))
		return
	}
	s.saved = w.Seq()
	s.Logger.Debug("a snapshot was written", zap.Uint64("seq", w.Seq()))
}

// pause returns an error if ctx ended first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
