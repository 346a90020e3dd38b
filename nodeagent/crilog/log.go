// Package crilog writes and reads container logs in the format that Kubernetes
// gave them: one entry a line,
//
//	<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <content>
//
// where F ends a line of the container's output and P is a part of one whose
// rest is yet to come.
//
// What a container has printed is in the log at once, ended line or not, so that
// nothing is kept in memory that a crash could lose; followers are woken and
// never poll. Nothing here knows of files: a log is any writer, and is read back
// through any reader. Start at [New] for writing, at [Read] for reading.
package crilog

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"
)

// Stream is one of a container's two outputs.
type Stream string

// Streams.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// maxContent is the most bytes of content in one entry, as other runtimes have it.
const maxContent = 16 << 10

// timeFormat has a fixed width, so that times sort as text.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Log is a log while it is written.
//
// Invariant: size counts whole entries only, and once ended, it does not grow.
type Log struct {
	now func() time.Time

	mu      sync.Mutex
	w       io.Writer
	size    int64
	ended   bool
	lost    error         // the first write that failed
	changed chan struct{} // closed and replaced at every change; nil if nobody waits
}

// New makes a log of a writer that has size bytes of entries already. Each Write
// to w is a number of whole entries.
func New(w io.Writer, size int64, now func() time.Time) *Log {
	return &Log{w: w, size: size, now: now}
}

// Stream returns where one output of the container is to be written. It always
// takes everything: a container must not hang because its log cannot be kept.
// What could not be written is lost, and the first such error is what End
// returns.
func (l *Log) Stream(s Stream) io.Writer { return &stream{log: l, name: s} }

// End says that the container will print no more. It returns the first error
// that lost output, if any.
func (l *Log) End() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
	return l.lost
}

// Size is how many bytes of whole entries have been written.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Await blocks until the log is longer than offset and returns its size then, or
// until it has ended at offset: more is false. The error is that of ctx.
func (l *Log) Await(ctx context.Context, offset int64) (size int64, more bool, err error) {
	for {
		l.mu.Lock()
		size, ended := l.size, l.ended
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if size > offset || ended {
			return size, size > offset, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return size, false, ctx.Err()
		}
	}
}

func (l *Log) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

func (l *Log) append(entries []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	n, err := l.w.Write(entries)
	if err != nil && l.lost == nil {
		l.lost = err
	}
	l.size += int64(n)
	l.wake()
}

// stream cuts one output into entries. It is used by one goroutine.
type stream struct {
	log  *Log
	name Stream
	buf  bytes.Buffer
}

func (s *stream) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.buf.Reset()
	head := s.log.now().UTC().Format(timeFormat) + " " + string(s.name) + " "
	for rest := p; len(rest) > 0; {
		line, ended := rest, false
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, ended = rest[:i], true
		}
		rest = rest[min(len(line)+1, len(rest)):]
		s.entries(head, line, ended)
	}
	s.log.append(s.buf.Bytes())
	return len(p), nil
}

// entries writes one line, or the beginning of one, in as many parts as it needs.
func (s *stream) entries(head string, line []byte, ended bool) {
	for {
		part := line[:min(len(line), maxContent)]
		line = line[len(part):]
		tag := "P "
		if ended && len(line) == 0 {
			tag = "F "
		}
		s.buf.WriteString(head)
		s.buf.WriteString(tag)
		s.buf.Write(part)
		s.buf.WriteByte('\n')
		if len(line) == 0 {
			return
		}
	}
}
