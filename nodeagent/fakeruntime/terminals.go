package fakeruntime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"sync"
	"time"

	"periplus.dev/nodeagent/crilog"
	"periplus.dev/nodeagent/runtime"
)

// logged is the log of one attempt, in memory.
type logged struct {
	attempt int
	log     *crilog.Log
	content *memory
	streams map[crilog.Stream]io.Writer
}

func newLogged(attempt int, now func() time.Time) *logged {
	m := &memory{}
	l := crilog.New(m, 0, now)
	return &logged{attempt: attempt, log: l, content: m, streams: map[crilog.Stream]io.Writer{
		crilog.Stdout: l.Stream(crilog.Stdout), crilog.Stderr: l.Stream(crilog.Stderr),
	}}
}

func (l *logged) add(s step) {
	if w, ok := l.streams[s.stream]; ok {
		_, _ = io.WriteString(w, s.text) // memory does not fail
	}
}

func (l *logged) end() { _ = l.log.End() } // memory does not fail

// memory is a file without a disk.
type memory struct {
	mu sync.RWMutex
	b  []byte
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.b = append(m.b, p...)
	return len(p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Logs implements [runtime.Terminals].
func (r *Runtime) Logs(ctx context.Context, uid, container string, o runtime.LogOptions, w io.Writer) error {
	if err := r.call(ctx, Call{Verb: "Logs", UID: uid, Container: container}); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	l, err := r.findLog(uid, container, o.Previous)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	read := crilog.Options{Tail: o.Tail, Since: o.Since, Timestamps: o.Timestamps, LimitBytes: o.LimitBytes}
	if o.Follow {
		read.Await = l.log.Await
	}
	return crilog.Read(ctx, l.content, l.log.Size(), read, w)
}

func (r *Runtime) findLog(uid, container string, previous bool) (*logged, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[uid]
	if p == nil {
		return nil, fmt.Errorf("pod %s: %w", uid, runtime.ErrNotFound)
	}
	logs, back := p.logs[container], 1
	if previous {
		back = 2
	}
	if len(logs) < back {
		return nil, fmt.Errorf("container %s: %w", container, runtime.ErrNotFound)
	}
	return logs[len(logs)-back], nil
}

// Exec implements [runtime.Terminals]. Beside the words of a program it knows
// `cat`, which copies its input, and with a terminal `tty`, which prints its size.
func (r *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (int, error) {
	if err := r.call(ctx, Call{Verb: "Exec", ID: id}); err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	r.mu.Lock()
	c, ok := r.containers[id]
	ok = ok && c.state.Phase == runtime.Running
	r.mu.Unlock()
	if !ok {
		return 0, fmt.Errorf("exec in container %s: %w", id, runtime.ErrNotFound)
	}
	p, err := compile(spec.Command, nil, c.around)
	if named, ok := errors.AsType[*runtime.Error](err); ok {
		named.ExitCode = 127
	}
	if err != nil || len(spec.Command) == 0 {
		return 0, errors.Join(err, emptyCommand(spec.Command))
	}
	return r.perform(ctx, c, p, spec)
}

func emptyCommand(command []string) error {
	if len(command) > 0 {
		return nil
	}
	return fmt.Errorf("exec without a command: %w", runtime.ErrInvalid)
}

// perform runs a program on behalf of a caller that waits for it.
func (r *Runtime) perform(ctx context.Context, c *container, p program, spec runtime.ExecSpec) (int, error) {
	out, errs := orDiscard(spec.Stdout), orDiscard(spec.Stderr)
	if spec.TTY {
		errs = out
	}
	to := map[crilog.Stream]io.Writer{"": io.Discard, crilog.Stdout: out, crilog.Stderr: errs}
	switch path.Base(spec.Command[0]) {
	case "cat":
		if spec.Stdin == nil {
			return 0, nil
		}
		_, err := io.Copy(out, spec.Stdin)
		return 0, err
	case "tty":
		if spec.TTY {
			return r.printSize(ctx, spec.Resize, out)
		}
	}
	for _, s := range p {
		switch {
		case s.end:
			return s.exitCode, nil
		case s.forever:
			return r.until(ctx, c)
		case s.wait > 0:
			if ended, err := r.waitExit(ctx, c, s.wait); ended || err != nil {
				return exitKilled, err
			}
		default:
			if _, err := io.WriteString(to[s.stream], s.text); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}

// until waits for whatever ends a command that does not end by itself.
func (r *Runtime) until(ctx context.Context, c *container) (int, error) {
	select {
	case <-c.exited:
		return exitKilled, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// printSize waits for the window's first size and prints it, rows first.
func (r *Runtime) printSize(ctx context.Context, resize <-chan runtime.Size, out io.Writer) (int, error) {
	size := runtime.Size{}
	if resize != nil {
		select {
		case size = <-resize:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	_, err := fmt.Fprintf(out, "/dev/pts/0\r\n%d %d\r\n", size.Height, size.Width)
	return 0, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
