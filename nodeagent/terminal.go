package nodeagent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/runtime"
)

// PodRef names a pod. UID may be empty.
type PodRef struct{ Namespace, Name, UID string }

// Size of a terminal in characters.
type Size = runtime.Size

// Logs reads what a container of a pod has printed; the caller closes it. Errors
// are those of Kubernetes: not found for a pod that is not here, bad request for
// a container that it does not have, that has printed nothing yet, or that has
// no previous attempt. o.Container may be empty if the pod has one container.
func (a *Agent) Logs(ctx context.Context, pod PodRef, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	state, c, err := a.container(pod, o.Container)
	if err != nil {
		return nil, err
	}
	name := state.Pod.Name
	switch {
	case o.Previous && c.Attempt == 0, o.Previous && c.Attempt == 1 && c.Phase == lifecycle.Waiting:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", c.Name, name))
	case c.Phase == lifecycle.Waiting && c.Attempt == 0:
		return nil, apierrors.NewBadRequest(waitingToStart(state, c))
	}
	options := runtime.LogOptions{Previous: o.Previous, Follow: o.Follow, Tail: o.TailLines, Timestamps: o.Timestamps, LimitBytes: o.LimitBytes}
	switch {
	case o.SinceTime != nil:
		options.Since = o.SinceTime.Time
	case o.SinceSeconds != nil:
		options.Since = a.cfg.Now().Add(-time.Duration(*o.SinceSeconds) * time.Second)
	}
	ctx, cancel := context.WithCancel(ctx)
	out, in := io.Pipe()
	go func() { // ends with the log, with ctx, or when the reader is closed
		err := a.cfg.Runtime.Logs(ctx, string(state.Pod.UID), c.Name, options, in)
		if errors.Is(err, runtime.ErrNotFound) {
			err = apierrors.NewBadRequest(fmt.Sprintf("unable to retrieve container logs for %s in pod %s", c.Name, name))
		}
		_ = in.CloseWithError(err) // never fails
	}()
	return &logReader{PipeReader: out, cancel: cancel}, nil
}

// logReader ends the reading of a log when it is closed.
type logReader struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (r *logReader) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}

// Exec runs a command in a running container and returns its exit code when it
// has ended. With tty all output goes to stdout, and resize, which may be nil,
// tells the size of the window. Any of the streams may be nil. Errors are those
// of [Agent.Logs], bad request for a container that does not run, and an
// [*runtime.Error] with exit code 126 or 127 for a command that cannot be
// started.
func (a *Agent) Exec(ctx context.Context, pod PodRef, container string, command []string, stdin io.Reader, stdout, stderr io.Writer, tty bool, resize <-chan Size) (exitCode int, err error) {
	state, c, err := a.container(pod, container)
	if err != nil {
		return 0, err
	}
	if c.Phase != lifecycle.Running {
		return 0, apierrors.NewBadRequest(notRunning(state, c))
	}
	code, err := a.cfg.Runtime.Exec(ctx, c.ID, runtime.ExecSpec{Command: command, Stdin: stdin, Stdout: stdout, Stderr: stderr, TTY: tty, Resize: resize})
	if errors.Is(err, runtime.ErrNotFound) {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not running", c.Name, state.Pod.Name))
	}
	return code, err
}

// container finds a container of a pod of this node.
func (a *Agent) container(ref PodRef, name string) (lifecycle.State, lifecycle.Container, error) {
	state, ok := a.stateOf(ref)
	if !ok {
		return state, lifecycle.Container{}, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, ref.Name)
	}
	if name == "" {
		name = defaultContainer(state.Pod)
	}
	for _, c := range state.Containers {
		if c.Name == name {
			return state, c, nil
		}
	}
	return state, lifecycle.Container{}, apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, ref.Name))
}

// defaultContainer is the one that is meant when none is named.
func defaultContainer(pod *corev1.Pod) string {
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return name
	}
	if len(pod.Spec.Containers) > 0 {
		return pod.Spec.Containers[0].Name
	}
	return ""
}

// stateOf finds what is known of a pod. Of several with the same name, the one
// that stays is meant.
func (a *Agent) stateOf(ref PodRef) (found lifecycle.State, ok bool) {
	for _, w := range a.all() {
		w.mu.Lock()
		s, pod := w.view, w.inbox.pod
		w.mu.Unlock()
		if s.Pod == nil && pod != nil {
			s = lifecycle.New(pod, a.cfg.Now()) // it was assigned a moment ago
		}
		switch {
		case s.Pod == nil, s.Pod.Namespace != ref.Namespace, s.Pod.Name != ref.Name, ref.UID != "" && string(s.Pod.UID) != ref.UID:
		case !ok, found.Stop.Wanted:
			found, ok = s, true
		}
	}
	return found, ok
}

func waitingToStart(s lifecycle.State, c lifecycle.Container) string {
	text := fmt.Sprintf("container %q in pod %q is waiting to start: ", c.Name, s.Pod.Name)
	switch {
	case c.Fetch.Try.Never:
		return text + runtime.ReasonInvalidImage
	case c.Fetch.Try.Failures > 0:
		return text + "trying and failing to pull image"
	case c.Start.Inputs:
		return text + runtime.ReasonConfig
	case c.Start.Failures > 0:
		return text + runtime.ReasonCreate
	case s.Sandbox.Ready && !c.Init && initialising(s):
		return text + "PodInitializing"
	default:
		return text + "ContainerCreating"
	}
}

func initialising(s lifecycle.State) bool {
	for _, c := range s.Containers {
		if c.Init && (c.Phase != lifecycle.Exited || c.ExitCode != 0) {
			return true
		}
	}
	return false
}

func notRunning(s lifecycle.State, c lifecycle.Container) string {
	switch {
	case c.Phase == lifecycle.Waiting:
		return waitingToStart(s, c)
	case s.Finished():
		return fmt.Sprintf("cannot exec in a completed pod: container %q in pod %q has exited", c.Name, s.Pod.Name)
	default:
		return fmt.Sprintf("container %q in pod %q is not running", c.Name, s.Pod.Name)
	}
}
