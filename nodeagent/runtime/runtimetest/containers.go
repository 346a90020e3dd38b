package runtimetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"periplus.dev/nodeagent/runtime"
)

func testExit(t *testing.T, s *suite) {
	p := s.pod()
	for attempt, code := range []int{0, 3, 255} {
		spec := s.spec(p, "/bin/exit", []string{"0", "3", "255"}[attempt])
		spec.Attempt, spec.Labels = attempt, map[string]string{"hash": "x"}
		c := s.start(spec)
		got := s.exit(p.UID, c.ID)
		if got.ExitCode != code || got.OOMKilled || got.Attempt != attempt || got.Name != "c" || got.Labels["hash"] != "x" || got.ImageID != c.ImageID {
			t.Errorf("got %+v, want exit code %d", got, code)
		}
		if got.StartedAt.IsZero() || got.FinishedAt.Before(got.StartedAt) {
			t.Errorf("started %s, finished %s", got.StartedAt, got.FinishedAt)
		}
	}
	state, _ := s.list(p.UID)
	if len(state.Containers) != 3 || state.Containers[2].Attempt != 2 {
		t.Errorf("listed: %+v", state.Containers)
	}
}

func testStartAgain(t *testing.T, s *suite) {
	p := s.pod()
	spec := s.spec(p, "/bin/sleep", "infinity")
	first := s.start(spec)
	if first.ID != runtime.ContainerID(p.UID, "c", 0) {
		t.Errorf("id = %s", first.ID)
	}
	if again := s.start(spec); again != first {
		t.Errorf("again: %+v, want %+v", again, first)
	}
	if err := s.Runtime.StopContainer(s.ctx, first.ID, 0); err != nil {
		t.Fatal(err)
	}
	if again := s.start(spec); again != first {
		t.Errorf("after its end: %+v, want %+v", again, first)
	}
	if state, _ := s.state(p.UID, first.ID); state.Phase != runtime.Exited || state.ExitCode != 137 {
		t.Errorf("an attempt was started twice: %+v", state)
	}
}

// A command replaces all that the image says, arguments only its arguments.
func testArguments(t *testing.T, s *suite) {
	for name, c := range map[string]struct {
		command, args []string
		want          string
	}{
		"arguments":             {nil, []string{"echo", "a", "b"}, "a b\n"},
		"command":               {[]string{"/bin/echo", "a"}, nil, "a\n"},
		"command and arguments": {[]string{"/bin/echo"}, []string{"$(a)", "b"}, "$(a) b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{Fixture: s.Fixture, ctx: s.ctx, t: t}
			spec := s.spec(s.pod(), c.command...)
			spec.Args = c.args
			if got := s.printed(spec); got != c.want {
				t.Errorf("printed %q, want %q", got, c.want)
			}
		})
	}
	p := s.pod()
	c := s.start(s.spec(p))
	if state, _ := s.state(p.UID, c.ID); state.Phase != runtime.Running {
		t.Errorf("the image's own command: %+v", state)
	}
}

func testSurroundings(t *testing.T, s *suite) {
	uid, gid := int64(1000), int64(1001)
	for name, c := range map[string]struct {
		command []string
		change  func(*runtime.ContainerSpec)
		want    []string
	}{
		"host name":   {[]string{"/bin/hostname"}, nil, []string{"pod-"}},
		"environment": {[]string{"/bin/env"}, func(c *runtime.ContainerSpec) { c.Env = []string{"A=b=c", "PATH=/x"} }, []string{"A=b=c\n", "PATH=/x\n", "HOSTNAME=pod-"}},
		"directory":   {[]string{"/bin/pwd"}, func(c *runtime.ContainerSpec) { c.WorkingDir = "/tmp" }, []string{"/tmp\n"}},
		"user": {[]string{"/bin/id"}, func(c *runtime.ContainerSpec) {
			c.Security.RunAsUser, c.Security.RunAsGroup, c.Security.RunAsNonRoot = &uid, &gid, true
		}, []string{"uid=1000 gid=1001"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &suite{Fixture: s.Fixture, ctx: s.ctx, t: t}
			spec := s.spec(s.pod(), c.command...)
			if c.change != nil {
				c.change(&spec)
			}
			got := s.printed(spec)
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("printed %q, want %q in it", got, want)
				}
			}
		})
	}
}

// A failed start has a reason, and leaves nothing behind.
func testStartFails(t *testing.T, s *suite) {
	p := s.pod()
	try := func(change func(*runtime.ContainerSpec)) error {
		spec := s.spec(p, "/bin/true")
		change(&spec)
		_, err := s.Runtime.StartContainer(s.ctx, spec)
		if state, _ := s.list(p.UID); len(state.Containers) > 0 {
			t.Errorf("left behind: %+v", state.Containers)
		}
		return err
	}
	s.wantNamed(try(func(c *runtime.ContainerSpec) { c.Command = []string{"/no-such-command"} }), runtime.ReasonStart, 128)
	s.wantNamed(try(func(c *runtime.ContainerSpec) { c.Security.RunAsNonRoot = true }), runtime.ReasonConfig, 0)
	s.wantNamed(try(func(c *runtime.ContainerSpec) { c.Env = []string{"no equals sign"} }), runtime.ReasonConfig, 0)
	s.wantNamed(try(func(c *runtime.ContainerSpec) { c.WorkingDir = "tmp" }), runtime.ReasonConfig, 0)
	s.wantErr(try(func(c *runtime.ContainerSpec) { c.Name = "../c" }), runtime.ErrInvalid)
	s.wantErr(try(func(c *runtime.ContainerSpec) { c.Image = s.Missing }), runtime.ErrImageNotFound)
	s.wantErr(try(func(c *runtime.ContainerSpec) { c.Image = "NO" }), runtime.ErrInvalidImage)
	s.wantErr(try(func(c *runtime.ContainerSpec) { c.Pod.UID = "00000000-0000-4000-8000-ffffffffffff" }), runtime.ErrNotFound)
	if c := s.start(s.spec(p, "/bin/true")); s.exit(p.UID, c.ID).ExitCode != 0 {
		t.Error("the same attempt cannot be made again")
	}
}

func testOutOfMemory(t *testing.T, s *suite) {
	p := s.pod()
	spec := s.spec(p, "/bin/eat-memory", "256Mi")
	spec.Resources.MemoryLimitBytes = 32 << 20
	c := s.start(spec)
	if got := s.exit(p.UID, c.ID); got.ExitCode != 137 || !got.OOMKilled {
		t.Errorf("got %+v, want exit code 137 for want of memory", got)
	}
	spec = s.spec(p, "/bin/sleep", "infinity")
	spec.Attempt, spec.Resources.MemoryLimitBytes = 1, 64<<20
	c = s.start(spec)
	if err := s.Runtime.StopContainer(s.ctx, c.ID, 0); err != nil {
		t.Fatal(err)
	}
	if got := s.exit(p.UID, c.ID); got.ExitCode != 137 || got.OOMKilled {
		t.Errorf("killed by us: %+v", got)
	}
}

func testStop(t *testing.T, s *suite) {
	p := s.pod()
	c := s.start(s.spec(p, "/bin/sleep", "infinity"))
	s.ready(p, c, "sleep")
	for range 2 {
		if err := s.Runtime.StopContainer(s.ctx, c.ID, patience/2); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.state(p.UID, c.ID); !ok || got.Phase != runtime.Exited || got.ExitCode != 143 {
			t.Errorf("got %+v, want exit code 143", got)
		}
	}
	if err := s.Runtime.StopContainer(s.ctx, runtime.ContainerID("nobody", "c", 0), time.Hour); err != nil {
		t.Errorf("stop what is not there: %v", err)
	}
}

// ready waits until a container can take signals: its program has come far
// enough to run another one beside it.
func (s *suite) ready(p runtime.Pod, c runtime.Container, _ string) {
	s.t.Helper()
	if code, err := s.Runtime.Exec(s.ctx, c.ID, runtime.ExecSpec{Command: []string{"/bin/true"}}); code != 0 || err != nil {
		s.t.Fatalf("exec in %s: %d, %v", p.Name, code, err)
	}
}

func testStopStubborn(t *testing.T, s *suite) {
	p := s.pod()
	c := s.start(s.spec(p, "/bin/stubborn"))
	s.line(p.UID, "c", "not listening")
	first := make(chan error, 1)
	ctx, cancel := context.WithCancel(s.ctx)
	go func() { first <- s.Runtime.StopContainer(ctx, c.ID, time.Hour) }()
	if err := s.Runtime.StopContainer(s.ctx, c.ID, 20*time.Millisecond); err != nil { // overtakes the patient one
		t.Fatal(err)
	}
	if got, _ := s.state(p.UID, c.ID); got.Phase != runtime.Exited || got.ExitCode != 137 {
		t.Errorf("got %+v, want exit code 137", got)
	}
	if err := <-first; err != nil {
		t.Errorf("the patient stop: %v", err)
	}
	cancel()

	spec := s.spec(p, "/bin/stubborn")
	spec.Attempt = 1
	c = s.start(spec)
	if err := s.Runtime.StopContainer(ctx, c.ID, time.Hour); err == nil {
		t.Error("a stop whose context has ended returns nil")
	}
	if got, _ := s.state(p.UID, c.ID); got.Phase != runtime.Running {
		t.Errorf("killed although the context had ended: %+v", got)
	}
}

// line follows a log until a line is in it.
func (s *suite) line(uid, container, want string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	found := &finder{want: want, found: cancel}
	err := s.Runtime.Logs(ctx, uid, container, runtime.LogOptions{Follow: true}, found)
	if !strings.Contains(found.text.String(), want) {
		s.t.Fatalf("log ended with %v before %q came: %q", err, want, found.text.String())
	}
}

// finder calls found when the text has come.
type finder struct {
	want  string
	found func()
	text  strings.Builder
}

func (f *finder) Write(p []byte) (int, error) {
	f.text.Write(p)
	if strings.Contains(f.text.String(), f.want) {
		f.found()
	}
	return len(p), nil
}

func testSignal(t *testing.T, s *suite) {
	p := s.pod()
	c := s.start(s.spec(p, "/bin/sleep", "infinity"))
	s.ready(p, c, "sleep")
	if err := s.Runtime.SignalContainer(s.ctx, c.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got := s.exit(p.UID, c.ID); got.ExitCode != 143 {
		t.Errorf("stop signal: %+v", got)
	}
	spec := s.spec(p, "/bin/sleep", "infinity")
	spec.Attempt = 1
	c = s.start(spec)
	if err := s.Runtime.SignalContainer(s.ctx, c.ID, "KILL"); err != nil {
		t.Fatal(err)
	}
	if got := s.exit(p.UID, c.ID); got.ExitCode != 137 {
		t.Errorf("KILL: %+v", got)
	}
	for _, id := range []string{c.ID, runtime.ContainerID("nobody", "c", 0)} {
		if err := s.Runtime.SignalContainer(s.ctx, id, "TERM"); err != nil {
			t.Errorf("signal to what does not run: %v", err)
		}
	}
}

func testRemove(t *testing.T, s *suite) {
	p := s.pod()
	running := s.start(s.spec(p, "/bin/print-lines", "-every", "1h", "2"))
	s.line(p.UID, "c", "line 1")
	for range 2 {
		if err := s.Runtime.RemoveContainer(s.ctx, running.ID); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.state(p.UID, running.ID); ok {
			t.Errorf("still there: %+v", got)
		}
	}
	if got := s.log(p.UID, "c", runtime.LogOptions{}); got != "line 1\n" {
		t.Errorf("its log is %q", got)
	}
	s.start(s.spec(p, "/bin/stubborn"))
	if err := s.Runtime.RemoveSandbox(s.ctx, p.UID); err != nil {
		t.Fatal(err)
	}
	err := s.Runtime.Logs(s.ctx, p.UID, "c", runtime.LogOptions{}, discard{})
	s.wantErr(err, runtime.ErrNotFound)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
