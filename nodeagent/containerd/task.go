package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"go.uber.org/zap"

	"periplus.dev/nodeagent/crilog"
	"periplus.dev/nodeagent/runtime"
)

// drainPatience is how long the end of a container's output may take to arrive
// after its exit.
const drainPatience = 5 * time.Second

// exitKilled is the exit code of what KILL ended.
const exitKilled = 128 + 9

// task is a container that runs, as this process sees it.
//
//	begun -exit or loss-> its log ends -> its end is recorded -> exited -> its task is deleted
type task struct {
	known

	pipes     *pipes
	log       *crilog.Log
	file      *os.File
	discarded atomic.Bool   // it is being removed: nobody will ask how it ended
	exited    chan struct{} // closed when its end is known and recorded
}

func newTask(k known, p *pipes, log *crilog.Log, file *os.File) *task {
	return &task{known: k, pipes: p, log: log, file: file, exited: make(chan struct{})}
}

// detach lets the container go on without us.
func (t *task) detach() error {
	err := t.pipes.detach()
	if errors.Is(err, fs.ErrClosed) {
		err = nil
	}
	return errors.Join(err, t.log.End(), t.file.Close())
}

func (r *Runtime) fifos(id string) string { return filepath.Join(r.config.fifoDir(), id) }

func (r *Runtime) logFile(k known) string {
	return filepath.Join(r.logDir(k.pod), k.public.Name, strconv.Itoa(k.public.Attempt)+".log")
}

func (r *Runtime) isRunning(id string) bool { return r.runningTask(id) != nil }

func (r *Runtime) runningTask(id string) *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[id]
}

// attach goes on with a container that a former process has started.
func (r *Runtime) attach(k known) error {
	log, file, err := crilog.OpenFile(r.logFile(k))
	if err != nil {
		return err
	}
	p, err := openPipes(r.fifos(k.ID()))
	if err != nil {
		// Without its pipes a container still ends, and that has to be noticed.
		r.log.Warn("log of a running container cannot be continued", zap.String("container", k.ID()), zap.Error(err))
		p = &pipes{dir: r.fifos(k.ID())}
	}
	r.begin(newTask(k, p, log, file))
	return nil
}

// begin reads a container's output and waits for its end, from now on.
func (r *Runtime) begin(t *task) {
	t.pipes.copyTo(t.log)
	r.mu.Lock()
	r.running[t.ID()] = t
	r.mu.Unlock()
	select {
	case r.begun <- t:
	case <-r.closed:
	}
}

// keep has somebody wait for each container that has begun, until ctx ends.
func (r *Runtime) keep(ctx context.Context) {
	for {
		select {
		case t := <-r.begun:
			r.group.Go(func() { r.await(ctx, t) })
		case <-ctx.Done():
			return
		}
	}
}

// await waits for a container's end and records it.
func (r *Runtime) await(ctx context.Context, t *task) {
	for {
		end, err := r.wait(ctx, t)
		if err == nil {
			err = r.harvest(ctx, t, end)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			return
		}
		if !errors.Is(err, runtime.ErrTemporary) { // otherwise listen has told already
			r.log.Warn("end of a container is not known yet", zap.String("container", t.ID()), zap.Error(err))
		}
		if !pause(ctx) {
			return
		}
	}
}

// wait returns how a container ended, or nil if it is lost. An error says that
// nobody can tell now.
func (r *Runtime) wait(ctx context.Context, t *task) (*ending, error) {
	process, err := t.Task(ctx, nil)
	if errdefs.IsNotFound(err) {
		return nil, nil //nolint:nilnil // lost
	}
	if err != nil {
		return nil, fmt.Errorf("find task: %w", asTemporary(err))
	}
	exit, err := process.Wait(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for task: %w", asTemporary(err))
	}
	status := <-exit
	if err := status.Error(); err != nil {
		return nil, fmt.Errorf("wait for task: %w", asTemporary(err)) // containerd went away, the container did not
	}
	return &ending{Code: int(status.ExitCode()), At: status.ExitTime().UTC()}, nil
}

// harvest completes the log of a container that has ended, records how, and
// deletes its task. It is safe to repeat.
func (r *Runtime) harvest(ctx context.Context, t *task, end *ending) error {
	t.drain(ctx)
	if end != nil && end.Code == exitKilled {
		end.OOM = r.ranOutOfMemory(t)
	}
	if end != nil && !t.discarded.Load() {
		text, err := json.Marshal(end)
		if err != nil {
			return fmt.Errorf("encode ending: %w", err)
		}
		if _, err := t.SetLabels(ctx, map[string]string{labelExit: string(text)}); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("record ending: %w", asTemporary(err))
		}
	}
	r.forget(t)
	return r.bury(ctx, t)
}

// bury deletes the task of a container that has ended. It takes the pod's lock:
// the shim ends with its last task, and a container that is started at the same
// moment would still find it.
func (r *Runtime) bury(ctx context.Context, t *task) error {
	unlock, err := r.pods.lock(ctx, t.pod.UID)
	if err != nil {
		return err
	}
	defer unlock()
	process, err := t.Task(ctx, nil)
	if err == nil {
		_, err = process.Delete(ctx)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", asTemporary(err))
	}
	return nil
}

// drain waits until the container's last output is in the log.
func (t *task) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	drained := make(chan struct{})
	go func() { t.pipes.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-ctx.Done(): // a process that outlived its container holds the pipes; forget ends the copying
	}
}

// forget closes what belongs to a container that has ended and tells everybody.
func (r *Runtime) forget(t *task) {
	select {
	case <-t.exited:
		return // a repetition
	default:
	}
	if err := errors.Join(t.pipes.remove(), t.log.End(), t.file.Close()); err != nil {
		r.log.Warn("log of a container is not complete", zap.String("container", t.ID()), zap.Error(err))
	}
	r.mu.Lock()
	delete(r.running, t.ID())
	delete(r.oomed, t.ID())
	r.mu.Unlock()
	close(t.exited)
	r.bell.Ring(t.pod.UID)
}

// ranOutOfMemory says whether the kernel has killed for want of memory in a
// container that was killed: it was heard of, or the kernel has counted it.
func (r *Runtime) ranOutOfMemory(t *task) bool {
	r.mu.Lock()
	heard := r.oomed[t.ID()]
	r.mu.Unlock()
	return heard || oomKills(r.containerCgroup(t.pod.UID, t.ID())) > 0
}

// containerCgroup is the group of one container.
func (r *Runtime) containerCgroup(uid, id string) string { return r.cgroup(uid, id[:12]) }

// errNoSandbox is what a container without surroundings gets.
func errNoSandbox(p runtime.Pod) error {
	return fmt.Errorf("sandbox of pod %s/%s: %w", p.Namespace, p.Name, runtime.ErrNotFound)
}
