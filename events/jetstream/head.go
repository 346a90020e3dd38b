package jetstream

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// headFile remembers, apart from the stream, up to where events are known to be
// on disk, so that a stream that became shorter does not go unnoticed. It is one
// line, overwritten in place: name, sequence, checksum. It is not synced: after a
// power cut it may be behind, never ahead.
type headFile struct {
	stream string
	log    *zap.Logger
	lazy   bool // an acknowledged event may not be on disk yet: settle says when

	known atomic.Uint64 // acknowledged

	mu      sync.Mutex
	f       *os.File
	written uint64
	ageing  [2]uint64 // what was acknowledged one and two rounds ago
}

const headLine = "%s %020d %08x\n"

func headPath(dir, stream string) string { return filepath.Join(dir, stream+".head") }

// readHead is what a head file says; 0 if it is not there or not readable.
func readHead(path, stream string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(raw) == 0 { // nothing was written yet
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read head of %s: %w", stream, err)
	}
	var name string
	var seq uint64
	var sum uint32
	if _, err := fmt.Sscanf(string(raw), "%s %d %x\n", &name, &seq, &sum); err != nil {
		return 0, fmt.Errorf("read head of %s in %s: %w", stream, path, err)
	}
	if name != stream || sum != headSum(name, seq) {
		return 0, fmt.Errorf("read head of %s in %s: %q is not what was written", stream, path, raw)
	}
	return seq, nil
}

func headSum(stream string, seq uint64) uint32 {
	return crc32.ChecksumIEEE(fmt.Appendf(nil, "%s %020d", stream, seq))
}

func openHead(path, stream string, lazy bool, log *zap.Logger) (*headFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	seq, err := readHead(path, stream)
	if err != nil {
		log.Warn("the head of the log is not known from before", zap.Error(err))
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open head of %s: %w", stream, err)
	}
	h := &headFile{stream: stream, log: log, lazy: lazy, f: f, written: seq, ageing: [2]uint64{seq, seq}}
	h.known.Store(seq)
	return h, nil
}

// note is told of each acknowledged sequence.
func (h *headFile) note(seq uint64) {
	if h == nil {
		return
	}
	for {
		known := h.known.Load()
		if seq <= known {
			return
		}
		if h.known.CompareAndSwap(known, seq) {
			break
		}
	}
	if h.lazy {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write(seq)
}

// settle is called once in each interval of the server's syncs. What was known
// two rounds ago is on disk by now.
func (h *headFile) settle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.write(h.ageing[1])
	h.ageing = [2]uint64{h.known.Load(), h.ageing[0]}
}

// close writes what is known: the server is closed and has synced.
func (h *headFile) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.f == nil {
		return nil
	}
	h.write(h.known.Load())
	err := h.f.Close()
	h.f = nil
	return err
}

// write needs the lock.
func (h *headFile) write(seq uint64) {
	if h.f == nil || seq <= h.written {
		return
	}
	if _, err := h.f.WriteAt(fmt.Appendf(nil, headLine, h.stream, seq, headSum(h.stream, seq)), 0); err != nil {
		h.log.Warn("the head of the log cannot be remembered", zap.Uint64("seq", seq), zap.Error(err))
		return
	}
	h.written = seq
}

// sequence is up to where the log was acknowledged, as far as is known.
func (h *headFile) sequence() uint64 {
	if h == nil {
		return 0
	}
	return h.known.Load()
}
