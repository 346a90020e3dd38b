package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"

	"periplus.dev/nodeagent/crilog"
	"periplus.dev/nodeagent/runtime"
)

const (
	snapshotter = "overlayfs"
	runcShim    = "io.containerd.runc.v2"
)

// cleanUpPatience is how long what a failed start has left may take to remove,
// whatever became of the caller's context.
const cleanUpPatience = 15 * time.Second

// StartContainer implements [runtime.Containers].
func (r *Runtime) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	c, err := r.startContainer(ctx, spec)
	if err != nil {
		return runtime.Container{}, fmt.Errorf("start container %s: %w", spec.Name, err)
	}
	return c, nil
}

func (r *Runtime) startContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	if err := spec.Check(); err != nil {
		return runtime.Container{}, err
	}
	unlock, err := r.pods.lock(ctx, spec.Pod.UID)
	if err != nil {
		return runtime.Container{}, err
	}
	defer unlock()
	s, alive := r.sandbox(spec.Pod.UID)
	if !alive {
		return runtime.Container{}, errNoSandbox(spec.Pod)
	}
	id := runtime.ContainerID(spec.Pod.UID, spec.Name, spec.Attempt)
	old, found, err := r.load(ctx, id)
	if err != nil {
		return runtime.Container{}, err
	}
	if found && (old.ending != nil || wasStarted(s, id)) {
		return old.public, nil
	}
	if found { // a crash has cut its start short
		if err := r.removeContainer(ctx, old); err != nil {
			return runtime.Container{}, err
		}
	}
	release, err := acquire(ctx, r.starts)
	if err != nil {
		return runtime.Container{}, err
	}
	defer release()
	return r.launch(ctx, s, id, spec)
}

func wasStarted(s *sandbox, id string) bool {
	_, err := os.Stat(s.startedMark(id))
	return err == nil
}

// launch creates and starts a container that is not there.
func (r *Runtime) launch(ctx context.Context, s *sandbox, id string, spec runtime.ContainerSpec) (runtime.Container, error) {
	defer r.underWay(id, runtime.Created)()
	k, err := r.create(ctx, s, id, spec)
	if err != nil {
		return runtime.Container{}, err
	}
	t, err := r.run(ctx, s, k, spec)
	if err != nil {
		return runtime.Container{}, errors.Join(err, r.cleanUp(ctx, k))
	}
	r.begin(t)
	r.bell.Ring(spec.Pod.UID)
	return k.public, nil
}

// create makes the container's record and its file system.
func (r *Runtime) create(ctx context.Context, s *sandbox, id string, spec runtime.ContainerSpec) (known, error) {
	img, public, err := r.startable(ctx, spec.Image)
	if err != nil {
		return known{}, err
	}
	opts, err := r.specOf(ctx, s, id, img, spec)
	if err != nil {
		return known{}, err
	}
	c, err := r.client.NewContainer(ctx, id,
		client.WithSnapshotter(snapshotter), client.WithRuntime(runcShim, nil), client.WithNewSnapshot(id, img),
		client.WithContainerLabels(labelsOf(spec, public.ID)), client.WithImageStopSignal(img, "SIGTERM"), client.WithNewSpec(opts...))
	if err == nil {
		k, _, err := read(ctx, c)
		return k, err
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpPatience)
	defer cancel()
	left := r.client.SnapshotService(snapshotter).Remove(undo, id)
	if errdefs.IsNotFound(left) {
		left = nil
	}
	return known{}, errors.Join(named(runtime.ReasonCreate, err), asTemporary(left))
}

// run starts a container's process and returns it.
func (r *Runtime) run(ctx context.Context, s *sandbox, k known, spec runtime.ContainerSpec) (*task, error) {
	p, err := makePipes(r.fifos(k.ID()), spec.TTY, spec.Stdin)
	if err != nil {
		return nil, named(runtime.ReasonRun, err)
	}
	process, err := k.NewTask(ctx, func(string) (cio.IO, error) { return p, nil })
	if err == nil {
		err = process.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(named(runtime.ReasonStart, err), p.remove())
	}
	log, file, err := crilog.OpenFile(r.logFile(k))
	if err == nil {
		err = os.WriteFile(s.startedMark(k.ID()), nil, 0o600)
	}
	if err != nil {
		return nil, errors.Join(named(runtime.ReasonRun, err), p.remove())
	}
	return newTask(k, p, log, file), nil
}

// cleanUp removes what a failed start has left, even if ctx has ended.
func (r *Runtime) cleanUp(ctx context.Context, k known) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpPatience)
	defer cancel()
	return r.removeContainer(ctx, k)
}

// chatter is what containerd and runc put around what they have to say.
var chatter = regexp.MustCompile(`^(failed to (create|start)( containerd| shim)? task: |OCI runtime (create|start|exec) failed: |runc (create|start|exec) failed: |unable to start container process: |error during container init: |failed to create containerd container: )+|: unknown$`)

// named gives an error of containerd's its reason and a message without what
// only its authors understand. Errors that may go away stay what they are.
func named(reason string, err error) error {
	if _, ok := errors.AsType[*runtime.Error](err); ok {
		return err
	}
	if temporary := asTemporary(err); errors.Is(temporary, runtime.ErrTemporary) || errors.Is(err, context.Canceled) {
		return temporary
	}
	e := &runtime.Error{Reason: reason, Message: clean(err.Error()), Err: err}
	if reason == runtime.ReasonStart {
		e.ExitCode = 128
	}
	return e
}

func clean(message string) string {
	for {
		shorter := strings.TrimSpace(chatter.ReplaceAllString(message, ""))
		if shorter == message {
			return message
		}
		message = shorter
	}
}
