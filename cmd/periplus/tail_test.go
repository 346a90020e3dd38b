package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"periplus.dev/events"
)

// screen is what a person watches: it tells when enough lines were written.
type screen struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines int
	full  chan struct{} // closed when there are so many lines
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := s.text.Write(p)
	if s.full != nil && bytes.Count(s.text.Bytes(), []byte("\n")) >= s.lines {
		close(s.full)
		s.full = nil
	}
	return n, err
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// startTail runs tail and returns when it has written so many lines.
func startTail(t *testing.T, lines int, args ...string) (out *screen, ended <-chan error, interrupt func()) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	full, end := make(chan struct{}), make(chan error, 1)
	out = &screen{lines: lines, full: full}
	root := newRoot()
	root.SetOut(out)
	root.SetArgs(append([]string{"tail"}, args...))
	go func() { end <- root.ExecuteContext(ctx) }()
	select {
	case <-full:
	case err := <-end:
		t.Fatalf("tail ended: %v", err)
	}
	return out, end, interrupt
}

func TestTailFollowsUntilInterrupted(t *testing.T) {
	s := startCluster(t)
	out, ended, interrupt := startTail(t, 2, "--last", "1", "--kubeconfig", s.kubeconfig)
	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("an interrupt is how it ends, got %v", err)
	}
	if !strings.Contains(out.String(), "container web exited with 137 (OOMKilled)") {
		t.Errorf("got %s", out)
	}
}

func TestTailSeesWhatComes(t *testing.T) {
	s := startCluster(t)
	add(t, s.log, events.NodeReady, nodeKey, 2, 2, events.Readiness{Reason: "AgentReady"})
	out, ended, _ := startTail(t, 1, "--last", "1", "-o", "json", "--kubeconfig", s.kubeconfig)
	close(s.done)
	want := "the server ended the stream: the server ends this stream; go on with --from 11"
	if err := <-ended; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if !strings.HasPrefix(out.String(), `{"seq":10,`) {
		t.Errorf("got %s", out)
	}
}

func TestTailOfAConnectionThatBreaks(t *testing.T) {
	s := startCluster(t)
	_, ended, _ := startTail(t, 1, "--last", "1", "-o", "cloudevents", "--kubeconfig", s.kubeconfig)
	s.CloseClientConnections()
	if err := <-ended; err == nil || !strings.HasPrefix(err.Error(), "the server ended the stream") || !strings.HasSuffix(err.Error(), "; go on with --from 10") {
		t.Errorf("got %v", err)
	}
}

func TestEachLine(t *testing.T) {
	status := `{"kind":"Status","apiVersion":"v1","message":"a gap\nin it"}`
	for _, c := range []struct {
		name, body string
		want       []string
		err        string
	}{
		{"nothing", "", nil, "<nil>"},
		{"lines", "{\"a\":1}\n\n{\"b\":2}\n", []string{`{"a":1}`, `{"b":2}`}, "<nil>"},
		{"a cut line", "{\"a\":1}\n{\"b\"", []string{`{"a":1}`}, "the server ended the stream: EOF"},
		{"a last word", "{\"a\":1}\n" + status + "\n", []string{`{"a":1}`}, "the server ended the stream: a gap in it"},
		{"an event that speaks of one", `{"x":` + status + "}\n", []string{`{"x":` + status + `}`}, "<nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			err := eachLine(strings.NewReader(c.body), func(line []byte) error {
				got = append(got, string(line))
				return nil
			})
			if fmt.Sprint(err) != c.err || strings.Join(got, "|") != strings.Join(c.want, "|") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
