package fakeruntime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	goruntime "runtime"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"pgregory.net/rapid"

	"periplus.dev/internal/testimage"
	"periplus.dev/nodeagent/fakeruntime"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/runtime/runtimetest"
)

func TestContract(t *testing.T) {
	r := newRuntime(t, fakeruntime.Config{})
	if _, err := r.Pull(t.Context(), "periplus.example/toolbox:v1"); err != nil {
		t.Fatal(err)
	}
	runtimetest.Run(t, runtimetest.Fixture{
		Runtime: r, Image: "periplus.example/toolbox:v1", Pullable: "nginx", Missing: "no-such-image",
		Archived: []string{"docker.io/library/a:latest", "docker.io/library/b:1"},
		Archive: func() (io.Reader, error) {
			var out bytes.Buffer
			err := testimage.WriteLayoutTar(&out, map[string]v1.Image{"a": empty.Image, "b:1": empty.Image})
			return &out, err
		},
	})
}

func newRuntime(t *testing.T, c fakeruntime.Config) *fakeruntime.Runtime {
	t.Helper()
	r, err := fakeruntime.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Time on a fake node is its clock's.
func TestClockAndLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRuntime(t, fakeruntime.Config{Latency: func(c fakeruntime.Call) time.Duration {
			return map[string]time.Duration{"CreateSandbox": time.Second, "StartContainer": 2 * time.Second}[c.Verb]
		}})
		began := time.Now()
		c := start(t, r, pod("a"), "sh", "-c", "echo hi; sleep 60; exit 3")
		if got := c.StartedAt.Sub(began); got != 3*time.Second {
			t.Errorf("started after %s, want 3s", got)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		synctest.Wait()
		if s := only(t, r); s.Phase != runtime.Running {
			t.Errorf("too early: %+v", s)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s := only(t, r); s.Phase != runtime.Exited || s.ExitCode != 3 || s.FinishedAt.Sub(c.StartedAt) != time.Minute {
			t.Errorf("got %+v, want exit code 3 after a minute", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := r.CreateSandbox(ctx, runtime.SandboxSpec{Pod: pod("b")}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient caller: %v", err)
		}
	})
}

func TestFailuresAreScripted(t *testing.T) {
	broken := errors.New("broken disk")
	r := newRuntime(t, fakeruntime.Config{
		Fail: func(c fakeruntime.Call) error {
			if c.Verb == "StartContainer" && c.Container == "c" && c.Attempt == 1 {
				return broken
			}
			return nil
		},
		Missing: func(ref string) bool { return ref == "docker.io/library/gone:1" },
	})
	p := pod("a")
	start(t, r, p, "true")
	if _, err := r.StartContainer(t.Context(), spec(p, 1, "true")); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	if _, err := r.StartContainer(t.Context(), spec(p, 2, "true")); err != nil {
		t.Errorf("err = %v", err)
	}
	if _, err := r.Pull(t.Context(), "gone:1"); !errors.Is(err, runtime.ErrImageNotFound) {
		t.Errorf("err = %v", err)
	}
}

func TestRebootLosesWhatRan(t *testing.T) {
	r := newRuntime(t, fakeruntime.Config{})
	start(t, r, pod("a"), "sleep", "infinity")
	before, err := r.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := list(t, r)[0].Sandbox.IPs[0]
	r.Reboot()
	after, err := r.Info(t.Context())
	if err != nil || before.BootID == after.BootID {
		t.Errorf("boot ids %q and %q, %v", before.BootID, after.BootID, err)
	}
	if p := list(t, r)[0]; p.Sandbox != nil || p.Containers[0].Phase != runtime.Lost {
		t.Errorf("after the restart: %+v", p)
	}
	if _, err := r.StartContainer(t.Context(), spec(pod("a"), 1, "true")); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("start in a lost sandbox: %v", err)
	}
	again, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: pod("a")})
	if err != nil || again.IPs[0] != address {
		t.Errorf("made again: %+v, %v, want %s", again, err, address)
	}
}

func TestKill(t *testing.T) {
	r := newRuntime(t, fakeruntime.Config{})
	c := start(t, r, pod("a"), "sleep", "infinity")
	if err := r.Kill(c.ID, 137, true); err != nil {
		t.Fatal(err)
	}
	if s := only(t, r); s.ExitCode != 137 || !s.OOMKilled {
		t.Errorf("got %+v", s)
	}
	if err := r.Kill(c.ID, 1, false); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("kill the dead: %v", err)
	}
}

func TestAddressesRunOut(t *testing.T) {
	r := newRuntime(t, fakeruntime.Config{PodCIDR: netip.MustParsePrefix("10.1.0.0/29")})
	for i := range 5 {
		if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: pod(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: pod("x")}); !errors.Is(err, runtime.ErrNoAddress) {
		t.Errorf("err = %v", err)
	}
	if n := len(list(t, r)); n != 5 {
		t.Errorf("%d pods, want 5", n)
	}
	if err := r.RemoveSandbox(t.Context(), "0"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: pod("x")}); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

// A node of thousands of pods costs no goroutines.
func TestThousandsOfPods(t *testing.T) {
	r := newRuntime(t, fakeruntime.Config{PodCIDR: netip.MustParsePrefix("10.1.0.0/16")})
	before := goruntime.NumGoroutine()
	for i := range 5000 {
		start(t, r, pod(fmt.Sprint(i)), "sleep", "1h")
	}
	if grown := goruntime.NumGoroutine() - before; grown > 10 {
		t.Errorf("%d goroutines more", grown)
	}
	seen := map[string]bool{}
	for _, p := range list(t, r) {
		if seen[p.Sandbox.IPs[0]] {
			t.Fatalf("%s twice", p.Sandbox.IPs[0])
		}
		seen[p.Sandbox.IPs[0]] = true
	}
	if len(seen) != 5000 {
		t.Errorf("%d pods, want 5000", len(seen))
	}
}

// Whatever a container is told to run, the fake makes something of it.
func TestAnyCommandIsSomething(t *testing.T) {
	words := rapid.SampledFrom([]string{
		"sh", "-c", "toolbox", "/bin/echo", "exit", "3", "-1", "sleep", "0", "1h", "print-lines", "-every", "1ms", "-stderr",
		"eat-memory", "5Mi", "stubborn", "nginx", "", ";", "echo a; exit 2", "sleep 0 && false", "no-such", "9999999999999999999Gi",
	})
	rapid.Check(t, func(rt *rapid.T) {
		r := newRuntime(t, fakeruntime.Config{})
		if _, err := r.Pull(t.Context(), "a"); err != nil {
			rt.Fatal(err)
		}
		if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: pod("a")}); err != nil {
			rt.Fatal(err)
		}
		s := spec(pod("a"), 0, rapid.SliceOfN(words, 0, 5).Draw(rt, "command")...)
		s.Args = rapid.SliceOfN(words, 0, 3).Draw(rt, "args")
		c, err := r.StartContainer(t.Context(), s)
		var named *runtime.Error
		if err != nil && (!errors.As(err, &named) || named.ExitCode != 128) {
			rt.Fatalf("err = %v", err)
		}
		if err == nil && c.ID == "" {
			rt.Fatal("no id")
		}
		if err := r.RemoveSandbox(t.Context(), "a"); err != nil {
			rt.Fatal(err)
		}
	})
}

func pod(uid string) runtime.Pod {
	return runtime.Pod{UID: uid, Namespace: "default", Name: "p-" + uid}
}

func spec(p runtime.Pod, attempt int, command ...string) runtime.ContainerSpec {
	return runtime.ContainerSpec{Pod: p, Name: "c", Attempt: attempt, Image: "a", Command: command}
}

// start makes a sandbox with one container.
func start(t *testing.T, r *fakeruntime.Runtime, p runtime.Pod, command ...string) runtime.Container {
	t.Helper()
	if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: p}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pull(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	c, err := r.StartContainer(t.Context(), spec(p, 0, command...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func list(t *testing.T, r *fakeruntime.Runtime) []runtime.PodState {
	t.Helper()
	pods, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return pods
}

// only is the one container that there is.
func only(t *testing.T, r *fakeruntime.Runtime) runtime.ContainerState {
	t.Helper()
	pods := list(t, r)
	if len(pods) != 1 || len(pods[0].Containers) != 1 {
		t.Fatalf("pods: %+v", pods)
	}
	return pods[0].Containers[0]
}
