package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"periplus.dev/nodeagent/runtime"
)

func testLogs(t *testing.T, s *suite) {
	p := s.pod()
	for attempt, lines := range []string{"3", "5"} {
		spec := s.spec(p, "/bin/print-lines", "-stderr", lines)
		spec.Attempt = attempt
		s.exit(p.UID, s.start(spec).ID)
	}
	n := func(i int64) *int64 { return &i }
	for name, c := range map[string]struct {
		o    runtime.LogOptions
		want string
	}{
		"all":      {runtime.LogOptions{}, "line 1\nline 2\nline 3\nline 4\nline 5\n"},
		"follow":   {runtime.LogOptions{Follow: true}, "line 1\nline 2\nline 3\nline 4\nline 5\n"},
		"tail":     {runtime.LogOptions{Tail: n(2)}, "line 4\nline 5\n"},
		"none":     {runtime.LogOptions{Tail: n(0)}, ""},
		"previous": {runtime.LogOptions{Previous: true}, "line 1\nline 2\nline 3\n"},
		"limit":    {runtime.LogOptions{LimitBytes: n(8)}, "line 1\nl"},
		"since":    {runtime.LogOptions{Since: time.Now().Add(time.Hour)}, ""},
	} {
		if got := s.log(p.UID, "c", c.o); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	stamped := s.log(p.UID, "c", runtime.LogOptions{Timestamps: true, Tail: n(1)})
	stamp, line, _ := strings.Cut(stamped, " ")
	if at, err := time.Parse(time.RFC3339Nano, stamp); err != nil || line != "line 5\n" || time.Since(at) > time.Hour {
		t.Errorf("with times: %q (%v)", stamped, err)
	}
	for _, err := range []error{
		s.Runtime.Logs(s.ctx, p.UID, "other", runtime.LogOptions{}, discard{}),
		s.Runtime.Logs(s.ctx, "nobody", "c", runtime.LogOptions{}, discard{}),
		s.Runtime.Logs(s.ctx, s.pod().UID, "c", runtime.LogOptions{Previous: true}, discard{}),
	} {
		s.wantErr(err, runtime.ErrNotFound)
	}
}

// Who follows a log sees each line as it comes, and an end when the container has
// ended.
func testFollow(t *testing.T, s *suite) {
	p := s.pod()
	s.start(s.spec(p, "/bin/print-lines", "-every", "30ms", "4"))
	if got := s.log(p.UID, "c", runtime.LogOptions{Follow: true}); got != "line 1\nline 2\nline 3\nline 4\n" {
		t.Errorf("followed: %q", got)
	}
	spec := s.spec(p, "/bin/sleep", "infinity")
	spec.Name = "silent"
	s.start(spec)
	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Runtime.Logs(ctx, p.UID, "silent", runtime.LogOptions{Follow: true}, discard{}) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("follow whose reader has gone: %v", err)
	}
}

func testExec(t *testing.T, s *suite) {
	p := s.pod()
	c := s.start(s.spec(p, "/bin/sleep", "infinity"))
	type result struct {
		code           int
		stdout, stderr string
	}
	run := func(stdin string, command ...string) (result, error) {
		var out, errs bytes.Buffer
		spec := runtime.ExecSpec{Command: command, Stdout: &out, Stderr: &errs}
		if stdin != "" {
			spec.Stdin = strings.NewReader(stdin)
		}
		code, err := s.Runtime.Exec(s.ctx, c.ID, spec)
		return result{code, out.String(), errs.String()}, err
	}
	for _, c := range []struct {
		command []string
		want    result
	}{
		{[]string{"/bin/echo", "a", "b"}, result{0, "a b\n", ""}},
		{[]string{"/bin/print-lines", "-stderr", "1"}, result{0, "", "line 1\n"}},
		{[]string{"/bin/exit", "7"}, result{7, "", ""}},
	} {
		if got, err := run("", c.command...); got != c.want || err != nil {
			t.Errorf("%v: %+v, %v, want %+v", c.command, got, err, c.want)
		}
	}
	long := strings.Repeat("0123456789abcdef", 20_000)
	if got, err := run(long, "/bin/cat"); got.code != 0 || got.stdout != long || err != nil {
		t.Errorf("cat: %d, %d bytes of %d, %v", got.code, len(got.stdout), len(long), err)
	}
	_, err := run("", "/no-such-command")
	s.wantNamed(err, runtime.ReasonStart, 127)
	_, err = run("")
	s.wantErr(err, runtime.ErrInvalid)

	ctx, cancel := context.WithCancel(s.ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Runtime.Exec(ctx, c.ID, runtime.ExecSpec{Command: []string{"/bin/stubborn"}})
		ended <- err
	}()
	cancel()
	if err := <-ended; err == nil {
		t.Error("exec whose context has ended returns nil")
	}
	if err := s.Runtime.StopContainer(s.ctx, c.ID, 0); err != nil {
		t.Fatal(err)
	}
	_, err = run("", "/bin/true")
	s.wantErr(err, runtime.ErrNotFound)
}

func testTerminal(t *testing.T, s *suite) {
	p := s.pod()
	c := s.start(s.spec(p, "/bin/sleep", "infinity"))
	resize := make(chan runtime.Size, 1)
	resize <- runtime.Size{Width: 81, Height: 25}
	var out bytes.Buffer
	code, err := s.Runtime.Exec(s.ctx, c.ID, runtime.ExecSpec{Command: []string{"/bin/tty"}, Stdout: &out, TTY: true, Resize: resize})
	if code != 0 || err != nil || !strings.Contains(out.String(), "/dev/pts/") || !strings.Contains(out.String(), "25 81\r\n") {
		t.Errorf("tty: %d, %v, %q", code, err, out.String())
	}
	out.Reset()
	if code, err := s.Runtime.Exec(s.ctx, c.ID, runtime.ExecSpec{Command: []string{"/bin/tty"}, Stdout: &out}); code != 1 || err != nil {
		t.Errorf("without a terminal: %d, %v, %q", code, err, out.String())
	}
}

func testWatch(t *testing.T, s *suite) {
	p := s.pod()
	ctx, cancel := context.WithCancel(s.ctx)
	events, ended := make(chan runtime.Event, 100), make(chan error, 1)
	go func() { ended <- s.Runtime.Watch(ctx, func(e runtime.Event) { events <- e }) }()
	if first := <-events; first.UID != "" {
		t.Errorf("first event is for %q, want all pods", first.UID)
	}
	c := s.start(s.spec(p, "/bin/sleep", "0.05"))
	for {
		var e runtime.Event
		select {
		case e = <-events:
		case <-s.ctx.Done():
			t.Fatal("no wake-up for the exit")
		}
		if state, ok := s.state(p.UID, c.ID); ok && e.UID == p.UID && state.Phase == runtime.Exited {
			break
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch = %v", err)
	}
}
