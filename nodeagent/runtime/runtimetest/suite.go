// Package runtimetest is the suite that every realisation of nodeagent/runtime
// passes. It says in code what runtime.go says in words.
//
// The containers run the test image's toolbox (internal/testimage), or what a
// fake makes of its words. Nothing sleeps: the suite waits for the wake-ups that
// the contract promises. Start at [Run].
package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"periplus.dev/nodeagent/runtime"
)

// patience is how long the suite waits for what has to happen.
const patience = 60 * time.Second

// Fixture is a runtime to be tested and what there is around it.
type Fixture struct {
	Runtime runtime.Runtime

	Image    string // the toolbox, present on the node: entry point "toolbox", arguments "sleep infinity"
	Pullable string // in a registry, not on the node
	Missing  string // in no registry
	Archive  func() (io.Reader, error)
	Archived []string // full names of the images in Archive, sorted
}

// Run tests the runtime. The caller opens and closes it; the suite leaves no pods.
func Run(t *testing.T, f Fixture) {
	for name, test := range map[string]func(*testing.T, *suite){
		"sandboxes": testSandboxes, "sandbox refuses": testSandboxRefuses, "addresses": testAddresses,
		"images": testImages, "import": testImport,
		"exit": testExit, "start again": testStartAgain, "arguments": testArguments, "surroundings": testSurroundings,
		"start fails": testStartFails, "out of memory": testOutOfMemory,
		"stop": testStop, "stop the stubborn": testStopStubborn, "signal": testSignal, "remove": testRemove,
		"logs": testLogs, "follow": testFollow, "exec": testExec, "terminal": testTerminal,
		"watch": testWatch, "info": testInfo,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			s := &suite{Fixture: f, ctx: ctx, t: t}
			test(t, s)
		})
	}
}

// suite is one test's view of the fixture.
type suite struct {
	Fixture

	ctx context.Context // the test's own
	t   *testing.T
}

// pods counts the pods of this process, for names of their own.
type counter struct{ n atomic.Int64 }

var pods counter //nolint:gochecknoglobals // names have to differ between suites that share a node

// pod makes a sandbox that is removed at the end.
func (s *suite) pod() runtime.Pod {
	s.t.Helper()
	p := s.name()
	if _, err := s.Runtime.CreateSandbox(s.ctx, runtime.SandboxSpec{Pod: p}); err != nil {
		s.t.Fatal(err)
	}
	return p
}

// name makes up a pod that is removed at the end, if it comes to be.
func (s *suite) name() runtime.Pod {
	n := pods.n.Add(1)
	p := runtime.Pod{UID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), Namespace: "default", Name: fmt.Sprintf("pod-%d", n), Node: "n1"}
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Runtime.RemoveSandbox(ctx, p.UID); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

// spec is a container of the toolbox's image with a command.
func (s *suite) spec(p runtime.Pod, command ...string) runtime.ContainerSpec {
	return runtime.ContainerSpec{Pod: p, Name: "c", Image: s.Image, Command: command}
}

func (s *suite) start(spec runtime.ContainerSpec) runtime.Container {
	s.t.Helper()
	c, err := s.Runtime.StartContainer(s.ctx, spec)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// list returns what is on the node for a pod.
func (s *suite) list(uid string) (runtime.PodState, bool) {
	s.t.Helper()
	all, err := s.Runtime.List(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, p := range all {
		if p.Pod.UID == uid {
			return p, true
		}
	}
	return runtime.PodState{}, false
}

// state returns where one container stands.
func (s *suite) state(uid, id string) (runtime.ContainerState, bool) {
	s.t.Helper()
	p, _ := s.list(uid)
	for _, c := range p.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return runtime.ContainerState{}, false
}

// exit waits until a container has exited and returns how.
func (s *suite) exit(uid, id string) runtime.ContainerState {
	s.t.Helper()
	var state runtime.ContainerState
	s.until("container has exited", func() bool {
		var ok bool
		state, ok = s.state(uid, id)
		return ok && state.Phase == runtime.Exited
	})
	return state
}

// until looks whenever the runtime says that there may be something to see.
func (s *suite) until(what string, seen func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	woken := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- s.Runtime.Watch(ctx, func(runtime.Event) {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for {
		select {
		case <-woken:
			if seen() {
				cancel()
				<-ended
				return
			}
		case err := <-ended:
			s.t.Fatalf("%s: not in %s (%v)", what, patience, err)
		}
	}
}

// log returns what a container has printed.
func (s *suite) log(uid, container string, o runtime.LogOptions) string {
	s.t.Helper()
	var out bytes.Buffer
	if err := s.Runtime.Logs(s.ctx, uid, container, o, &out); err != nil {
		s.t.Fatal(err)
	}
	return out.String()
}

// printed runs a command to its end and returns what it printed.
func (s *suite) printed(spec runtime.ContainerSpec) string {
	s.t.Helper()
	c := s.start(spec)
	s.exit(spec.Pod.UID, c.ID)
	return s.log(spec.Pod.UID, spec.Name, runtime.LogOptions{})
}

// wantErr checks which error came.
func (s *suite) wantErr(err, want error) {
	s.t.Helper()
	if !errors.Is(err, want) {
		s.t.Errorf("err = %v, want %v", err, want)
	}
}

// wantNamed checks that an error has a reason for people.
func (s *suite) wantNamed(err error, reason string, code int) {
	s.t.Helper()
	var e *runtime.Error
	if !errors.As(err, &e) || e.Reason != reason || e.ExitCode != code || e.Message == "" {
		s.t.Errorf("err = %v, want %s with exit code %d", err, reason, code)
		return
	}
	if strings.Contains(e.Message, "OCI runtime") || strings.HasSuffix(e.Message, ": unknown") {
		s.t.Errorf("message %q is not for people", e.Message)
	}
}
