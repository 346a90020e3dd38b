package containerd

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"periplus.dev/nodeagent/crilog"
	"periplus.dev/nodeagent/runtime"
)

// Exit codes of a command that cannot be started, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// Exec implements [runtime.Terminals].
func (r *Runtime) Exec(ctx context.Context, id string, spec runtime.ExecSpec) (int, error) {
	code, err := r.exec(ctx, id, spec)
	if err != nil {
		return 0, fmt.Errorf("exec: %w", err)
	}
	return code, nil
}

func (r *Runtime) exec(ctx context.Context, id string, spec runtime.ExecSpec) (code int, err error) {
	if len(spec.Command) == 0 {
		return 0, fmt.Errorf("%w: no command", runtime.ErrInvalid)
	}
	t := r.runningTask(id)
	if t == nil {
		return 0, fmt.Errorf("container %s: %w", id, runtime.ErrNotFound)
	}
	process, input, err := r.newExec(ctx, t, spec)
	if err != nil {
		return 0, err
	}
	defer func() {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpPatience)
		defer cancel()
		if _, left := process.Delete(undo, client.WithProcessKill); left != nil && !errdefs.IsNotFound(left) && err == nil {
			err = fmt.Errorf("delete process: %w", asTemporary(left))
		}
	}()
	exit, err := process.Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("wait for process: %w", asTemporary(err))
	}
	if err := process.Start(ctx); err != nil {
		return 0, execError(err)
	}
	return follow(ctx, process, spec, exit, input)
}

// newExec makes a process in a container that is not started yet. The input is
// closed when the caller's has ended.
func (r *Runtime) newExec(ctx context.Context, t *task, spec runtime.ExecSpec) (client.Process, *endingReader, error) {
	running, err := t.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil, fmt.Errorf("container %s: %w", t.ID(), runtime.ErrNotFound)
	}
	if err != nil {
		return nil, nil, asTemporary(err)
	}
	whole, err := t.Spec(ctx)
	if err != nil {
		return nil, nil, asTemporary(err)
	}
	process := *whole.Process
	process.Args, process.Terminal = spec.Command, spec.TTY
	if spec.TTY {
		process.Env = append(slices.Clone(process.Env), "TERM=xterm")
		select {
		case size := <-spec.Resize: // known from the start
			process.ConsoleSize = &specs.Box{Width: uint(size.Width), Height: uint(size.Height)}
		default:
		}
	}
	input := &endingReader{r: spec.Stdin, ended: make(chan struct{})}
	name := "exec-" + rand.Text()
	p, err := running.Exec(ctx, name, &process, r.execStreams(spec, input))
	if errdefs.IsNotFound(err) {
		return nil, nil, fmt.Errorf("container %s: %w", t.ID(), runtime.ErrNotFound)
	}
	return p, input, asTemporary(err)
}

func (r *Runtime) execStreams(spec runtime.ExecSpec, input *endingReader) cio.Creator {
	var stdin io.Reader
	if spec.Stdin != nil {
		stdin = input
	}
	opts := []cio.Opt{
		cio.WithStreams(stdin, cmp.Or[io.Writer](spec.Stdout, io.Discard), cmp.Or[io.Writer](spec.Stderr, io.Discard)),
		cio.WithFIFODir(r.config.fifoDir()),
	}
	if spec.TTY {
		opts = append(opts, cio.WithTerminal)
	}
	return cio.NewCreator(opts...)
}

// follow serves a started process until it has ended.
func follow(ctx context.Context, p client.Process, spec runtime.ExecSpec, exit <-chan client.ExitStatus, input *endingReader) (int, error) {
	ended := input.ended
	resize := spec.Resize
	if !spec.TTY {
		resize = nil
	}
	for {
		select {
		case <-ended:
			ended = nil
			if err := p.CloseIO(ctx, client.WithStdinCloser); err != nil && !errdefs.IsNotFound(err) {
				return 0, fmt.Errorf("close input: %w", asTemporary(err))
			}
		case size, open := <-resize:
			if !open {
				resize = nil
				continue
			}
			if err := p.Resize(ctx, uint32(size.Width), uint32(size.Height)); err != nil && !errdefs.IsNotFound(err) {
				return 0, fmt.Errorf("resize terminal: %w", asTemporary(err))
			}
		case status := <-exit:
			if err := cmp.Or(ctx.Err(), status.Error()); err != nil {
				return 0, asTemporary(err)
			}
			p.IO().Wait()
			return int(status.ExitCode()), nil
		}
	}
}

// execError names the failure to start a command as a shell would.
func execError(err error) error {
	if errdefs.IsNotFound(err) && strings.Contains(err.Error(), "task") {
		return fmt.Errorf("%w: %w", runtime.ErrNotFound, err)
	}
	err = named(runtime.ReasonStart, err)
	if e, ok := errors.AsType[*runtime.Error](err); ok {
		e.ExitCode = exitNotFound
		if strings.Contains(e.Message, "permission denied") || strings.Contains(e.Message, "is a directory") {
			e.ExitCode = exitNotExecutable
		}
	}
	return err
}

// endingReader tells when its reader has come to an end.
type endingReader struct {
	r     io.Reader
	once  sync.Once
	ended chan struct{}
}

func (e *endingReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil {
		e.once.Do(func() { close(e.ended) })
	}
	return n, err
}

// Logs implements [runtime.Terminals].
func (r *Runtime) Logs(ctx context.Context, uid, container string, o runtime.LogOptions, w io.Writer) error {
	if err := r.readLog(ctx, uid, container, o, w); err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

func (r *Runtime) readLog(ctx context.Context, uid, container string, o runtime.LogOptions, w io.Writer) error {
	s, _ := r.sandbox(uid)
	if s == nil || !filepath.IsLocal(container) {
		return fmt.Errorf("pod %s, container %q: %w", uid, container, runtime.ErrNotFound)
	}
	attempt, path, err := findLog(filepath.Join(r.logDir(s.Pod), container), o.Previous)
	if err != nil {
		return fmt.Errorf("container %s: %w", container, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	read := crilog.Options{Tail: o.Tail, Since: o.Since, Timestamps: o.Timestamps, LimitBytes: o.LimitBytes}
	if t := r.runningTask(runtime.ContainerID(uid, container, attempt)); t != nil {
		size = t.log.Size()
		if o.Follow {
			read.Await = t.log.Await
		}
	}
	return crilog.Read(ctx, f, size, read, w)
}

// findLog finds the log of the newest attempt, or of the one before.
func findLog(dir string, previous bool) (attempt int, path string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, "", err
	}
	var attempts []int
	for _, e := range entries {
		number, isLog := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.Atoi(number); isLog && err == nil {
			attempts = append(attempts, n)
		}
	}
	slices.Sort(attempts)
	back := 1
	if previous {
		back = 2
	}
	if len(attempts) < back {
		return 0, "", runtime.ErrNotFound
	}
	attempt = attempts[len(attempts)-back]
	return attempt, filepath.Join(dir, strconv.Itoa(attempt)+".log"), nil
}
