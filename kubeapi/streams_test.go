package kubeapi

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
)

func startWithPod(t *testing.T) *cluster {
	c := start(t, nil)
	p := onePod("web")
	p.Spec.NodeName = "n1"
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "d", Image: "i"})
	p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "i"}}
	_, err := c.client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	must(t, err)
	_, err = c.client.CoreV1().Pods("default").Create(t.Context(), onePod("waiting"), metav1.CreateOptions{})
	must(t, err)
	return c
}

func TestLogs(t *testing.T) {
	t.Parallel()
	c := startWithPod(t)
	ctx := t.Context()
	logs := func(pod string, o *corev1.PodLogOptions) (string, error) {
		r, err := c.client.CoreV1().Pods("default").GetLogs(pod, o).Stream(ctx)
		if err != nil {
			return "", err
		}
		defer func() { _ = r.Close() }()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	for _, follow := range []bool{false, true} {
		if got, err := logs("web", &corev1.PodLogOptions{Container: "d", Follow: follow}); err != nil || got != "default/web/d on n1\n" {
			t.Errorf("log %q, error %v", got, err)
		}
	}
	if got, err := logs("waiting", &corev1.PodLogOptions{}); err != nil || got != "" {
		t.Errorf("log of a pod on no node: %q, %v", got, err)
	}
	minus := int64(-1)
	for want, o := range map[string]*corev1.PodLogOptions{
		"a container name must be specified for pod web, choose one of: [c d] or one of the init containers: [first]": {},
		"container x is not valid for pod web": {Container: "x"},
		"tailLines: Invalid value: -1":         {Container: "c", TailLines: &minus},
	} {
		if _, err := logs("web", o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func executors(t *testing.T, c *cluster, o *corev1.PodExecOptions, pod string) map[string]remotecommand.Executor {
	t.Helper()
	u := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").VersionedParams(o, scheme.ParameterCodec).URL()
	spdy, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, u)
	must(t, err)
	ws, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, u.String())
	must(t, err)
	return map[string]remotecommand.Executor{"SPDY": spdy, "WebSocket": ws}
}

type oneSize struct{ sent bool }

func (s *oneSize) Next() *remotecommand.TerminalSize {
	if s.sent {
		return nil
	}
	s.sent = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

func TestExec(t *testing.T) {
	t.Parallel()
	c := startWithPod(t)
	for name, e := range executors(t, c, &corev1.PodExecOptions{Container: "d", Command: []string{"fail", "-x"}, Stdin: true, Stdout: true, Stderr: true}, "web") {
		var out, errOut bytes.Buffer
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdin: strings.NewReader("input"), Stdout: &out, Stderr: &errOut})
		var exit exec.CodeExitError
		if !errors.As(err, &exit) || exit.Code != 7 {
			t.Errorf("%s: error %v", name, err)
		}
		if out.String() != "d [fail -x]\ninput" || errOut.String() != "warning\n" {
			t.Errorf("%s: output %q, errors %q", name, out.String(), errOut.String())
		}
	}
	for name, e := range executors(t, c, &corev1.PodExecOptions{Container: "c", Command: []string{"sh"}, Stdout: true, TTY: true}, "web") {
		var out bytes.Buffer
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &out, Tty: true, TerminalSizeQueue: &oneSize{}})
		if err != nil || out.String() != "80x24\nc [sh]\n" {
			t.Errorf("%s: output %q, error %v", name, out.String(), err)
		}
	}
	for name, e := range executors(t, c, &corev1.PodExecOptions{Command: []string{"sh"}, Stdout: true}, "waiting") {
		err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "pod waiting does not have a host assigned") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
