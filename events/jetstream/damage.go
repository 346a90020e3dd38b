package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.uber.org/zap"

	"periplus.dev/events"
)

// DamageError says from where on a log is not what it was. It wraps [events.ErrGap].
// Nothing was changed: the server has not touched the files.
type DamageError struct {
	Stream string
	Seq    uint64 // first event that is missing or cannot be read
	Head   uint64 // last event that was acknowledged, as far as is known
	Where  string // file and offset; empty if the server was asked
	Reason string
}

func (d *DamageError) Error() string {
	at := ""
	if d.Where != "" {
		at = " (" + d.Where + ")"
	}
	return fmt.Sprintf("log %s is damaged: event %d is the first that is missing or cannot be read: %s%s; %d were acknowledged",
		d.Stream, d.Seq, d.Reason, at, d.Head)
}

// Unwrap makes it an [events.ErrGap].
func (d *DamageError) Unwrap() error { return events.ErrGap }

// checker compares the files of a directory with what was acknowledged, before
// the server opens them.
type checker struct {
	dir  string
	lazy bool  // events behind the known head may have been lost with the power
	most int64 // bytes to read before the start; the rest is for later
	log  *zap.Logger
}

// checkNow is how much of a log is checked before the start. Reading it takes
// about a tenth of a second.
const checkNow = 256 << 20

// later checks what was left out; nil if nothing was.
type later func(context.Context) (*DamageError, error)

// logs are the streams of the directory that are to be whole: those whose head
// is known.
func (c *checker) logs() []string {
	paths, _ := filepath.Glob(filepath.Join(c.dir, "*.head")) // the pattern is not malformed
	for i, path := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(path), ".head")
	}
	return paths
}

// check reads the newest blocks of a stream. It returns where the damage is, for
// cutting, and how to check the rest.
func (c *checker) check(stream string) (*DamageError, *fault, later, error) {
	head, err := readHead(headPath(c.dir, stream), stream)
	if err != nil {
		c.log.Warn("the head of the log is not known from before", zap.Error(err))
	}
	blocks, err := blocksOf(c.dir, stream)
	if err != nil {
		return nil, nil, nil, err
	}
	old := c.split(blocks)
	s := &scan{stream: stream}
	if old == 0 {
		s.want = 1
	}
	for i, b := range blocks[old:] {
		f, err := s.read(b)
		if err != nil {
			return nil, nil, nil, err
		}
		if f == nil {
			continue
		}
		if i == len(blocks)-1-old && f.seq > head && (c.lazy || !f.inside) {
			c.log.Warn("a write that was not acknowledged is dropped from the end of the log",
				zap.String("stream", stream), zap.Uint64("seq", f.seq), zap.String("reason", f.reason))
			break
		}
		return c.damage(stream, head, f), f, nil, nil
	}
	if end := max(s.want, 1) - 1; end < head {
		f := &fault{seq: end + 1, reason: fmt.Sprintf("the log ends with event %d", end)}
		return c.damage(stream, head, f), f, nil, nil
	}
	if old == 0 {
		return nil, nil, nil, nil
	}
	return nil, nil, c.rest(stream, head, blocks[:old], s.first), nil
}

func (c *checker) damage(stream string, head uint64, f *fault) *DamageError {
	d := &DamageError{Stream: stream, Seq: f.seq, Head: head, Reason: f.reason}
	if f.block.path != "" {
		d.Where = fmt.Sprintf("%s, byte %d", f.block.path, f.offset)
	}
	return d
}

// split says how many of the blocks are left for later.
func (c *checker) split(blocks []block) int {
	size := int64(0)
	for i, b := range slices.Backward(blocks) {
		if size += b.size; size > c.most && i < len(blocks)-1 {
			return i + 1
		}
	}
	return 0
}

// rest checks full blocks, to which the server does not write any more.
func (c *checker) rest(stream string, head uint64, blocks []block, next uint64) later {
	return func(ctx context.Context) (*DamageError, error) {
		s := &scan{stream: stream, want: 1}
		for _, b := range blocks {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if f, err := s.read(b); err != nil || f != nil {
				if f == nil {
					return nil, err
				}
				return c.damage(stream, head, f), nil
			}
		}
		if next != 0 && s.want != next {
			f := &fault{seq: s.want, reason: fmt.Sprintf("event %d follows %d", next, s.want-1)}
			return c.damage(stream, head, f), nil
		}
		return nil, nil
	}
}

// cut takes everything from the damage on out of a stream. What is taken out is
// kept beside it, in DIR/cut-STREAM-SEQ.
func (c *checker) cut(stream string, f *fault) (err error) {
	keep := filepath.Join(c.dir, fmt.Sprintf("cut-%s-%d", stream, f.seq))
	if err := os.MkdirAll(keep, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	blocks, err := blocksOf(c.dir, stream)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		switch {
		case f.block.path == "" || b.index < f.block.index:
			continue
		case b.index == f.block.index && f.offset > 0:
			err = errors.Join(copyFile(b.path, filepath.Join(keep, filepath.Base(b.path))), os.Truncate(b.path, f.offset))
		default:
			err = os.Rename(b.path, filepath.Join(keep, filepath.Base(b.path)))
		}
		if err != nil {
			return fmt.Errorf("cut %s: %w", stream, err)
		}
	}
	// The server's index speaks of what is gone, and is made again if it is missing.
	if err := os.Remove(filepath.Join(messagesDir(c.dir, stream), "index.db")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cut %s: %w", stream, err)
	}
	line := fmt.Appendf(nil, headLine, stream, f.seq-1, headSum(stream, f.seq-1))
	if err := os.WriteFile(headPath(c.dir, stream), line, 0o600); err != nil {
		return fmt.Errorf("cut %s: %w", stream, err)
	}
	c.log.Warn("the log was cut", zap.String("stream", stream), zap.Uint64("seq", f.seq), zap.String("kept", keep))
	return nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// whole checks the files of every log, and cuts one that is damaged right where
// it is to be cut.
func (c *checker) whole(cutAt uint64) ([]later, error) {
	var rest []later
	did := false
	for _, stream := range c.logs() {
		d, f, more, err := c.check(stream)
		switch {
		case err != nil:
			return nil, fmt.Errorf("check log %s: %w", stream, err)
		case d == nil:
		case d.Seq != cutAt:
			return nil, d
		default:
			did = true
			if err := c.cut(stream, f); err != nil {
				return nil, err
			}
		}
		if more != nil {
			rest = append(rest, more)
		}
	}
	if cutAt != 0 && !did {
		return nil, fmt.Errorf("cut the log at %d: it is not damaged there", cutAt)
	}
	return rest, nil
}
