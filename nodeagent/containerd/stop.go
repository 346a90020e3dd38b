package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"

	"periplus.dev/nodeagent/runtime"
)

// SignalContainer implements [runtime.Containers].
func (r *Runtime) SignalContainer(ctx context.Context, id, name string) error {
	t := r.runningTask(id)
	if t == nil {
		return nil
	}
	if err := r.kill(ctx, t, name); err != nil {
		return fmt.Errorf("signal container: %w", err)
	}
	return nil
}

// kill sends a signal by name; an empty name is the image's stop signal.
func (r *Runtime) kill(ctx context.Context, t *task, name string) error {
	var number syscall.Signal
	var err error
	if name == "" {
		number, err = client.GetStopSignal(ctx, t.Container, syscall.SIGTERM)
	} else if number, err = signal.ParseSignal(name); err != nil {
		err = fmt.Errorf("%w: %w", runtime.ErrInvalid, err)
	}
	if err != nil {
		return asTemporary(err)
	}
	process, err := t.Task(ctx, nil)
	if err == nil {
		err = process.Kill(ctx, number)
	}
	select {
	case <-t.exited:
		return nil
	default:
	}
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		return nil // it has just ended
	}
	return asTemporary(err)
}

// StopContainer implements [runtime.Containers].
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	t := r.runningTask(id)
	if t == nil {
		return nil
	}
	if grace > 0 {
		if err := r.kill(ctx, t, ""); err != nil {
			return fmt.Errorf("stop container: %w", err)
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-t.exited:
			return nil
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := r.killForGood(ctx, t); err != nil {
		return fmt.Errorf("stop container: %w", err)
	}
	return nil
}

// killForGood sends KILL and waits for the exit.
func (r *Runtime) killForGood(ctx context.Context, t *task) error {
	if err := r.kill(ctx, t, "KILL"); err != nil {
		return err
	}
	select {
	case <-t.exited:
		return nil
	case <-r.closed:
		return runtime.ErrTemporary
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RemoveContainer implements [runtime.Containers].
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.removeByID(ctx, id); err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	return nil
}

func (r *Runtime) removeByID(ctx context.Context, id string) error {
	k, ok, err := r.load(ctx, id)
	if err != nil || !ok {
		return err
	}
	unlock, err := r.pods.lock(ctx, k.pod.UID)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.removeContainer(ctx, k); err != nil {
		return err
	}
	r.bell.Ring(k.pod.UID)
	return nil
}

// removeContainer kills a container and removes all of it but its log. The pod's
// lock is held.
func (r *Runtime) removeContainer(ctx context.Context, k known) error {
	defer r.underWay(k.ID(), runtime.Unknown)()
	if t := r.runningTask(k.ID()); t != nil {
		t.discarded.Store(true)
		if err := r.killForGood(ctx, t); err != nil {
			return err
		}
	}
	if err := deleteTask(ctx, k); err != nil {
		return err
	}
	if err := k.Delete(ctx, client.WithSnapshotCleanup); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete container: %w", asTemporary(err))
	}
	errs := []error{os.RemoveAll(r.fifos(k.ID())), removeCgroups(r.containerCgroup(k.pod.UID, k.ID()))}
	if s, _ := r.sandbox(k.pod.UID); s != nil {
		errs = append(errs, os.RemoveAll(s.startedMark(k.ID())))
	}
	return errors.Join(errs...)
}

// deleteTask kills and deletes a container's process, if it has one.
func deleteTask(ctx context.Context, k known) error {
	process, err := k.Task(ctx, nil)
	if err == nil {
		_, err = process.Delete(ctx, client.WithProcessKill)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("delete task: %w", asTemporary(err))
	}
	return nil
}
