package jetstream

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"periplus.dev/events"
)

// space keeps the disk from running full: appends are refused while little is
// left, so that the server never meets a write that fails, and taken again when
// there is more.
type space struct {
	dir     string
	reserve int64
	log     *zap.Logger

	full   atomic.Bool           // it was said that the disk is full
	fresh  atomic.Int64          // until when there is plenty of room, in nanoseconds since 1970
	broken atomic.Pointer[error] // why nothing can be written until the server was started again
}

const defaultReserve = 64 << 20

func newSpace(dir string, reserve int64, log *zap.Logger) (*space, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("look at the disk of %s: %w", dir, err)
	}
	if reserve == 0 {
		reserve = min(defaultReserve, int64(fs.Blocks)*fs.Bsize/10)
	}
	return &space{dir: dir, reserve: reserve, log: log}, nil
}

// writable wraps [events.ErrTemporary] if nothing can be written now.
func (s *space) writable() error {
	if broken := s.broken.Load(); broken != nil {
		return fmt.Errorf("%w: the log takes no changes until its disk works again: %w", events.ErrTemporary, *broken)
	}
	if time.Now().UnixNano() < s.fresh.Load() {
		return nil
	}
	return s.room()
}

// plenty is for how long a disk with twice the reserve is not looked at again: no
// disk takes the difference in that time.
const plenty = 5 * time.Millisecond

func (s *space) room() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return fmt.Errorf("%w: look at the disk of %s: %w", events.ErrTemporary, s.dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if free >= s.reserve {
		if s.full.CompareAndSwap(true, false) {
			s.log.Info("there is room on the disk again, changes are taken", zap.Int64("free", free))
		}
		if free > 2*s.reserve {
			s.fresh.Store(time.Now().Add(plenty).UnixNano())
		}
		return nil
	}
	if s.full.CompareAndSwap(false, true) {
		s.log.Error("the disk is full, changes are refused", zap.String("dir", s.dir), zap.Int64("free", free), zap.Int64("reserve", s.reserve))
	}
	return fmt.Errorf("%w: the disk is full, changes are refused until there is room: %s has %d MiB left of which %d MiB are kept free",
		events.ErrTemporary, s.dir, free>>20, s.reserve>>20)
}

// mend starts the NATS server again after a write failed, once there is room.
func (s *Server) mend(ctx context.Context) {
	for {
		select {
		case err := <-s.log.sick:
			s.space.broken.Store(&err)
			s.cfg.Logger.Error("the log cannot be written, changes are refused", zap.Error(err))
		case <-ctx.Done():
			return
		}
		s.lose()
		for pause := minPause; ; pause = min(2*pause, maxPause) {
			t := time.NewTimer(pause)
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return
			}
			if s.space.room() != nil {
				continue
			}
			err := s.again(ctx)
			if err == nil {
				break
			}
			s.cfg.Logger.Error("the log server cannot be started again", zap.Error(err))
		}
		s.space.broken.Store(nil)
		s.cfg.Logger.Info("the log takes changes again")
	}
}

// lose lets all that waits for an answer know that none will come.
func (s *Server) lose() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.lose()
	}
}

// again ends the NATS server and starts it anew; connections find it by themselves.
func (s *Server) again(ctx context.Context) error {
	s.mu.Lock()
	ns := s.ns
	s.ns = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	s.log.forget()
	return s.run(ctx)
}
