package crilog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Options chooses a part of a log. The zero value is all that is there now.
type Options struct {
	Tail       *int64    // only the last lines; nil: all; negative counts as 0
	Since      time.Time // only entries from then on
	Timestamps bool      // each line begins with its time
	LimitBytes *int64    // stop after as many bytes of output

	// Await follows the log: called with how far it was read, it blocks until
	// there is more; see [Log.Await]. Nil: stop at the present end.
	Await func(ctx context.Context, offset int64) (size int64, more bool, err error)
}

// Read writes the content of the entries in the first size bytes of r to w, and
// with Await those that come after them. It returns nil at the end, ctx's error if
// that came first, or what r or w failed with. Lines that are no entries are
// passed over.
func Read(ctx context.Context, r io.ReaderAt, size int64, o Options, w io.Writer) error {
	offset, err := start(r, size, o.Tail)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	out := &printer{w: w, options: o, open: map[string]bool{}}
	if o.LimitBytes != nil {
		out.left = *o.LimitBytes
	}
	for {
		err := out.copy(ctx, r, offset, size)
		if errors.Is(err, errLimit) {
			return nil
		}
		if err != nil || o.Await == nil {
			return err
		}
		var more bool
		offset = size
		if size, more, err = o.Await(ctx, offset); err != nil || !more {
			return err
		}
	}
}

// errLimit ends reading when LimitBytes have been written.
var errLimit = errors.New("enough bytes")

// printer turns entries into what the container printed.
type printer struct {
	w       io.Writer
	options Options
	left    int64           // of LimitBytes
	open    map[string]bool // streams whose last entry was a part
}

// copy prints the entries between two offsets. What is after the last line end,
// which only a failed write leaves there, is passed over.
func (p *printer) copy(ctx context.Context, r io.ReaderAt, from, to int64) error {
	lines := bufio.NewReaderSize(io.NewSectionReader(r, from, to-from), 2*maxContent)
	out := bufio.NewWriterSize(p.w, 2*maxContent)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if e, ok := parse(line[:len(line)-1]); ok {
			if err := p.print(out, e); err != nil {
				return errors.Join(err, out.Flush())
			}
		}
	}
}

func (p *printer) print(out *bufio.Writer, e entry) error {
	if e.time.Before(p.options.Since) {
		return nil
	}
	if p.options.Timestamps && !p.open[string(e.stream)] {
		if err := p.write(out, append(e.stamp, ' ')); err != nil {
			return err
		}
	}
	p.open[string(e.stream)] = e.part
	if err := p.write(out, e.content); err != nil || e.part {
		return err
	}
	return p.write(out, []byte{'\n'})
}

func (p *printer) write(out *bufio.Writer, b []byte) error {
	limited := p.options.LimitBytes != nil
	if limited && int64(len(b)) >= p.left {
		if _, err := out.Write(b[:max(0, p.left)]); err != nil {
			return err
		}
		return errLimit
	}
	p.left -= int64(len(b))
	_, err := out.Write(b)
	return err
}

// entry is one line of a log, taken apart.
type entry struct {
	stamp, stream, content []byte
	time                   time.Time
	part                   bool
}

func parse(line []byte) (e entry, ok bool) {
	var tag []byte
	if e.stamp, line, ok = bytes.Cut(line, []byte{' '}); !ok {
		return e, false
	}
	if e.stream, line, ok = bytes.Cut(line, []byte{' '}); !ok {
		return e, false
	}
	if tag, e.content, ok = bytes.Cut(line, []byte{' '}); !ok {
		return e, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(e.stamp))
	e.stamp = bytes.Clone(e.stamp)
	e.time, e.part = at, bytes.HasPrefix(tag, []byte{'P'})
	known := string(e.stream) == string(Stdout) || string(e.stream) == string(Stderr)
	return e, err == nil && known && (e.part || bytes.HasPrefix(tag, []byte{'F'}))
}

// start is the offset from which the last lines begin.
func start(r io.ReaderAt, size int64, tail *int64) (int64, error) {
	switch {
	case tail == nil:
		return 0, nil
	case *tail <= 0:
		return size, nil
	}
	lines, begin := int64(0), size
	// Entries are looked at from the last to the first. Each that ends a line
	// opens another one, going backwards; so does the very last entry.
	for end := size; end > 0; {
		at, err := lineStart(r, end)
		if err != nil {
			return 0, err
		}
		part, err := isPart(r, at, end)
		if err != nil {
			return 0, err
		}
		if !part || end == size {
			lines++
		}
		if lines > *tail {
			return begin, nil
		}
		begin, end = at, at
	}
	return 0, nil
}

// lineStart is where the line begins that ends with the newline before end.
func lineStart(r io.ReaderAt, end int64) (int64, error) {
	buf := make([]byte, 4<<10)
	for end--; end > 0; {
		n := min(end, int64(len(buf)))
		if err := readFull(r, buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// isPart reads the head of the entry between two offsets.
func isPart(r io.ReaderAt, at, end int64) (bool, error) {
	head := make([]byte, min(end-at-1, 64))
	if err := readFull(r, head, at); err != nil {
		return false, err
	}
	e, ok := parse(head)
	return ok && e.part, nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
