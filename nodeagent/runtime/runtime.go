// Package runtime is the contract between the node agent and what really runs
// pods: sandboxes, images, containers, and the truth about them.
//
// Whatever stands behind it keeps all state that has to survive a crash of the
// agent; the agent keeps none of its own. [State.List] is the only truth;
// [State.Watch] merely says when to look again. Every verb may be repeated: a
// verb whose work is already done reports the same outcome again. Methods may be
// called from many goroutines at once; calls for one pod that exclude each
// other are put in order by the implementation.
//
// A pod has a sandbox (its network, IPC and UTS namespaces and its address) and
// containers in it. A container is never restarted: each start is another
// attempt, with an id of its own.
//
// Realisations are nodeagent/containerd and nodeagent/fakeruntime; both pass
// the suite in runtimetest. Start reading at [Runtime], then errors.go.
package runtime

import (
	"context"
	"io"
	"time"
)

// Runtime is everything a node agent needs from the machine. Consumers that need
// less take one of its parts.
type Runtime interface {
	Sandboxes
	Images
	Containers
	State
	Terminals

	// Info describes the machine and the software. ErrTemporary if it cannot be
	// asked now.
	Info(ctx context.Context) (Info, error)
}

// Sandboxes makes and removes the surroundings of a pod's containers.
type Sandboxes interface {
	// CreateSandbox makes namespaces, address and files of a pod. If they are
	// there already, it returns the existing sandbox and ignores the rest of the
	// spec. A sandbox that was lost with a restart of the machine is made anew,
	// with the same address if it is free. On an error nothing is left behind.
	// ErrUnsupported for a spec that this runtime cannot honour, ErrNoAddress if
	// the node's range is used up, ErrInvalid for an impossible name.
	CreateSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error)

	// RemoveSandbox kills what is left of the pod at once and removes all of it:
	// containers, namespaces, address, files and logs. A pod that is not there is
	// no error.
	RemoveSandbox(ctx context.Context, uid string) error
}

// Images fetches images and says which ones are present.
type Images interface {
	// Image looks an image up by a reference as people write it ("nginx",
	// "registry:5000/a/b:1", "name@sha256:…"), without asking any registry.
	// ok is false if it is not present. ErrInvalidImage if ref is none.
	Image(ctx context.Context, ref string) (img Image, ok bool, err error)

	// Pull asks the registry what ref is now and fetches what is missing;
	// Image.Present says that nothing was. Errors: ErrInvalidImage,
	// ErrImageNotFound (the registry has no such image, or hides it),
	// ErrTemporary (the registry or the runtime did not answer).
	Pull(ctx context.Context, ref string) (Image, error)

	// Import adds the images of a tar archive, an OCI layout or what docker save
	// writes, and returns them by their full names, sorted. ErrInvalidImage if
	// the archive is neither.
	Import(ctx context.Context, archive io.Reader) ([]Image, error)
}

// Containers starts and ends containers.
type Containers interface {
	// StartContainer creates and starts one attempt of a container in the pod's
	// sandbox. If this attempt was started before, in whatever state it is now,
	// it returns that. Errors: ErrNotFound if there is no sandbox,
	// ErrImageNotFound if the image is not present (it is not pulled here),
	// ErrTemporary if the runtime did not answer; anything else is an [*Error]
	// whose Reason is meant for people. After an error nothing of the attempt is
	// left behind, unless ctx ended first: then List tells.
	StartContainer(ctx context.Context, spec ContainerSpec) (Container, error)

	// SignalContainer sends one signal: "TERM", "KILL", …; empty means the stop
	// signal that the image names, or TERM. It does not wait. A container that
	// has exited or is not there is no error.
	SignalContainer(ctx context.Context, id, signal string) error

	// StopContainer sends the stop signal, waits up to grace for the exit, then
	// kills, and returns when the container has exited and its log is complete.
	// With grace 0 it kills at once. It may be called again with a shorter grace
	// while the first call waits. When ctx ends first it returns its error and
	// nothing more is sent. A container that has exited or is not there is no
	// error.
	StopContainer(ctx context.Context, id string, grace time.Duration) error

	// RemoveContainer kills and removes one container and its writable layer.
	// Its log stays until the pod is removed. One that is not there is no error.
	RemoveContainer(ctx context.Context, id string) error
}

// State is the truth about what is on the node.
type State interface {
	// List returns every pod of which anything is on the node, sorted by UID. It
	// is complete or an error: ErrTemporary if the runtime does not answer.
	List(ctx context.Context) ([]PodState, error)

	// Watch calls fn, from one goroutine, whenever List may have something new to
	// tell, and once at the start, until ctx ends; it then returns ctx's error.
	// Nothing that happens after the first call is missed, but calls may be
	// superfluous, and an event carries no truth. fn must not block.
	Watch(ctx context.Context, fn func(Event)) error
}

// Terminals is how people look into a container.
type Terminals interface {
	// Exec runs a command inside a running container and returns its exit code
	// when it has ended and its output is written. A ctx that ends kills it.
	// ErrNotFound if the container is not there or not running; a command that
	// cannot be started is an *Error with ReasonStart and exit code 126 or 127.
	Exec(ctx context.Context, id string, spec ExecSpec) (exitCode int, err error)

	// Logs writes what the newest attempt of a pod's container has printed. It
	// ends at the present end, or with Follow when the container has exited and
	// all is written, when ctx ends, or when w fails. ErrNotFound if there is no
	// such log: the pod is not here, the container has not started yet, or there
	// was no previous attempt.
	Logs(ctx context.Context, uid, container string, o LogOptions, w io.Writer) error
}

// Event says that something about a pod may be different. An empty UID stands
// for all pods: the connection to the runtime was lost and is back.
type Event struct{ UID string }
