package kinds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// How long a session may be silent, and how long its streams may take to open.
const (
	idleTimeout     = 4 * time.Hour
	creationTimeout = 30 * time.Second
)

// protocolV5 is what kubectl speaks over WebSocket.
const protocolV5 = "v5.channel.k8s.io"

// execREST runs a command in a container.
type execREST struct{ *podREST }

var _ rest.Connecter = (*execREST)(nil)

// New implements rest.Storage.
func (r *execREST) New() runtime.Object { return &corev1.PodExecOptions{} }

// NewConnectOptions implements rest.Connecter.
func (r *execREST) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

// ConnectMethods implements rest.Connecter.
func (r *execREST) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect implements rest.Connecter.
func (r *execREST) Connect(ctx context.Context, name string, options runtime.Object, _ rest.Responder) (http.Handler, error) {
	o, ok := options.(*corev1.PodExecOptions)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("exec options are a %T", options))
	}
	pod, err := r.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	o = o.DeepCopy()
	o.Container, err = containerOf(pod, o.Container)
	done := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case err != nil:
		return nil, err
	case !o.Stdin && !o.Stdout && !o.Stderr:
		return nil, apierrors.NewBadRequest("you must specify at least 1 of stdin, stdout, stderr")
	case len(o.Command) == 0:
		return nil, apierrors.NewBadRequest("you must specify at least one command for the container")
	case pod.Spec.NodeName == "":
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	case done:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot exec into a container in a completed pod; current phase is %s", pod.Status.Phase))
	}
	if o.TTY {
		o.Stderr = false
	}
	return &session{nodes: r.nodes, node: pod.Spec.NodeName, pod: refOf(pod), options: o}, nil
}

// session is one exec.
type session struct {
	nodes   NodeBackend
	node    string
	pod     PodRef
	options *corev1.PodExecOptions
}

// ServeHTTP speaks WebSocket v5 where the client does, and the older protocols,
// SPDY among them, otherwise.
func (s *session) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if wsstream.IsWebSocketRequest(req) && offersV5(req) {
		s.serveV5(w, req)
		return
	}
	o := &remotecommand.Options{Stdin: s.options.Stdin, Stdout: s.options.Stdout, Stderr: s.options.Stderr, TTY: s.options.TTY}
	remotecommand.ServeExec(w, req, s, s.pod.Name, s.pod.UID, s.options.Container, s.options.Command, o,
		idleTimeout, creationTimeout, remotecommand.SupportedStreamingProtocols)
}

func offersV5(req *http.Request) bool {
	for _, line := range req.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(p) == protocolV5 {
				return true
			}
		}
	}
	return false
}

// ExecInContainer implements remotecommand.Executor.
func (s *session) ExecInContainer(ctx context.Context, _, _, container string, command []string,
	in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sizes chan TerminalSize
	if tty && resize != nil {
		sizes = make(chan TerminalSize)
		go func() { // ends with the exec
			defer close(sizes)
			for {
				select {
				case size, ok := <-resize:
					if !ok || !offer(ctx, sizes, TerminalSize{Width: size.Width, Height: size.Height}) {
						return
					}
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	code, err := s.nodes.Exec(ctx, s.node, s.pod, container, command, in, writer(out), writer(errOut), tty, sizes)
	if err == nil && code != 0 {
		return exitError(code)
	}
	return err
}

func offer[T any](ctx context.Context, ch chan<- T, v T) bool {
	select {
	case ch <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// writer keeps a nil stream nil as an interface of another type.
func writer(w io.WriteCloser) io.Writer {
	if w == nil {
		return nil
	}
	return w
}

// exitError is the exit code of a command that failed.
type exitError int

func (e exitError) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// String implements exec.ExitError.
func (e exitError) String() string { return e.Error() }

// Exited implements exec.ExitError.
func (e exitError) Exited() bool { return true }

// ExitStatus implements exec.ExitError.
func (e exitError) ExitStatus() int { return int(e) }

// Channels of a WebSocket session.
const (
	chanIn = iota
	chanOut
	chanErr
	chanStatus
	chanResize
	channels
)

func (s *session) serveV5(w http.ResponseWriter, req *http.Request) {
	kinds := make([]wsstream.ChannelType, channels)
	for i, open := range map[int]bool{chanIn: s.options.Stdin, chanOut: s.options.Stdout, chanErr: s.options.Stderr} {
		switch {
		case !open:
			kinds[i] = wsstream.IgnoreChannel
		case i == chanIn:
			kinds[i] = wsstream.ReadChannel
		default:
			kinds[i] = wsstream.WriteChannel
		}
	}
	kinds[chanStatus], kinds[chanResize] = wsstream.WriteChannel, wsstream.ReadChannel
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{protocolV5: {Binary: true, Channels: kinds}})
	conn.SetIdleTimeout(idleTimeout)
	_, streams, err := conn.Open(w, req)
	if err != nil {
		return // Open has answered
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	resize := make(chan remotecommand.TerminalSize)
	go readSizes(ctx, cancel, streams[chanResize], resize)
	var in io.Reader
	var out, errOut io.WriteCloser
	if s.options.Stdin {
		in = streams[chanIn]
	}
	if s.options.Stdout {
		out = streams[chanOut]
	}
	if s.options.Stderr {
		errOut = streams[chanErr]
	}
	err = s.ExecInContainer(ctx, s.pod.Name, s.pod.UID, s.options.Container, s.options.Command, in, out, errOut, s.options.TTY, resize, 0)
	if b, err := json.Marshal(statusOf(err)); err == nil {
		_, _ = streams[chanStatus].Write(b) // a client that is gone needs no status
	}
}

// readSizes passes on window sizes; the channel ends with the connection, and
// then so does the command.
func readSizes(ctx context.Context, cancel context.CancelFunc, r io.Reader, out chan<- remotecommand.TerminalSize) {
	defer cancel()
	defer close(out)
	for d := json.NewDecoder(r); ; {
		var size remotecommand.TerminalSize
		if err := d.Decode(&size); err != nil || !offer(ctx, out, size) {
			return
		}
	}
}

// statusOf tells the client how a command ended.
func statusOf(err error) metav1.Status {
	var exit exitError
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return metav1.Status{Status: metav1.StatusSuccess}
	case errors.As(err, &exit):
		return metav1.Status{
			Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason,
			Message: "command terminated with non-zero exit code: " + exit.Error(),
			Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(int(exit))}}},
		}
	case errors.As(err, &status):
		return status.Status()
	default:
		return apierrors.NewInternalError(err).ErrStatus
	}
}
