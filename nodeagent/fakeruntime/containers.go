package fakeruntime

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"periplus.dev/nodeagent/image"
	"periplus.dev/nodeagent/runtime"
)

// container is one attempt. The runtime's mutex guards it.
//
//	start -> step -> step … -> exit
//	            \-> waits for its timer, or for good
type container struct {
	runtime  *Runtime
	pod      *pod
	state    runtime.ContainerState
	around   surroundings
	memory   int64 // limit
	log      *logged
	rest     program // what it has not done yet
	stubborn bool
	stop     func() bool   // of the timer it waits for; nil if there is none
	exited   chan struct{} // closed when it no longer runs
}

// StartContainer implements [runtime.Containers].
func (r *Runtime) StartContainer(ctx context.Context, spec runtime.ContainerSpec) (runtime.Container, error) {
	ref, err := image.Parse(spec.Image)
	if err == nil {
		err = spec.Check()
	}
	if err == nil {
		call := Call{Verb: "StartContainer", UID: spec.Pod.UID, Container: spec.Name, Attempt: spec.Attempt, Image: ref.String()}
		err = r.call(ctx, call)
	}
	if err != nil {
		return runtime.Container{}, fmt.Errorf("start container %s: %w", spec.Name, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	id := runtime.ContainerID(spec.Pod.UID, spec.Name, spec.Attempt)
	if c, ok := r.containers[id]; ok {
		return c.state.Container, nil
	}
	c, err := r.create(id, ref, spec)
	if err != nil {
		return runtime.Container{}, fmt.Errorf("start container %s: %w", spec.Name, err)
	}
	r.containers[id] = c
	c.pod.containers[id] = c
	c.pod.logs[spec.Name] = append(c.pod.logs[spec.Name], c.log)
	c.step()
	r.bell.Ring(spec.Pod.UID)
	return c.state.Container, nil
}

// create makes a container that has done nothing yet.
func (r *Runtime) create(id string, ref image.Ref, spec runtime.ContainerSpec) (*container, error) {
	p := r.pods[spec.Pod.UID]
	if p == nil || p.sandbox == nil {
		return nil, fmt.Errorf("sandbox of pod %s: %w", spec.Pod.Name, runtime.ErrNotFound)
	}
	img, ok := r.images[ref.String()]
	if !ok {
		return nil, fmt.Errorf("%w: %s", runtime.ErrImageNotFound, ref)
	}
	around := surroundingsOf(spec, p.hostname)
	if spec.Security.RunAsNonRoot && around.user == 0 {
		return nil, &runtime.Error{Reason: runtime.ReasonConfig, Message: "container has runAsNonRoot and would run as user 0"}
	}
	program, err := compile(spec.Command, spec.Args, around)
	if err != nil {
		return nil, err
	}
	return &container{
		runtime: r, pod: p, around: around, memory: spec.Resources.MemoryLimitBytes,
		log: newLogged(spec.Attempt, r.clock.Now), rest: program, exited: make(chan struct{}),
		state: runtime.ContainerState{
			Container: runtime.Container{ID: id, Name: spec.Name, Attempt: spec.Attempt, ImageID: img.ID, StartedAt: r.clock.Now().UTC()},
			Labels:    maps.Clone(spec.Labels), Phase: runtime.Running,
		},
	}, nil
}

func surroundingsOf(spec runtime.ContainerSpec, hostname string) surroundings {
	env := map[string]string{"PATH": "/bin", "HOSTNAME": hostname}
	for _, v := range spec.Env {
		name, value, _ := strings.Cut(v, "=")
		env[name] = value
	}
	s := surroundings{hostname: hostname, workingDir: "/"}
	for name, value := range env {
		s.env = append(s.env, name+"="+value)
	}
	if spec.WorkingDir != "" {
		s.workingDir = spec.WorkingDir
	}
	if spec.Security.RunAsUser != nil {
		s.user = *spec.Security.RunAsUser
	}
	if spec.Security.RunAsGroup != nil {
		s.group = *spec.Security.RunAsGroup
	}
	return s
}

// step does what the program does until it waits or ends.
func (c *container) step() {
	for len(c.rest) > 0 && c.state.Phase == runtime.Running {
		s := c.rest[0]
		if s.forever {
			return
		}
		c.rest = c.rest[1:]
		switch {
		case s.end:
			c.exit(s.exitCode)
		case s.wait > 0:
			c.sleep(s.wait)
			return
		case c.memory > 0 && s.eat > c.memory:
			c.state.OOMKilled = true
			c.exit(exitKilled)
		case s.stubborn:
			c.stubborn = true
		default:
			c.log.add(s)
		}
	}
}

func (c *container) sleep(d time.Duration) {
	c.stop = c.runtime.clock.AfterFunc(d, func() {
		c.runtime.mu.Lock()
		defer c.runtime.mu.Unlock()
		c.stop = nil
		c.step()
	})
}

// exit ends the container, if it runs.
func (c *container) exit(code int) {
	if c.end(runtime.Exited) {
		c.state.ExitCode, c.state.FinishedAt = code, c.runtime.clock.Now().UTC()
	}
}

// lose ends it so that nobody knows how.
func (c *container) lose() { c.end(runtime.Lost) }

func (c *container) end(phase runtime.Phase) bool {
	if c.state.Phase != runtime.Running {
		return false
	}
	c.state.Phase = phase
	if c.stop != nil {
		c.stop()
	}
	c.log.end()
	close(c.exited)
	c.runtime.bell.Ring(c.pod.id.UID)
	return true
}

// Exit codes of a container that a signal ended.
const (
	exitKilled     = 128 + 9
	exitTerminated = 128 + 15
)

// SignalContainer implements [runtime.Containers]. The fake knows KILL, TERM, INT
// and QUIT; other signals do nothing.
func (r *Runtime) SignalContainer(ctx context.Context, id, signal string) error {
	if err := r.call(ctx, Call{Verb: "SignalContainer", ID: id}); err != nil {
		return fmt.Errorf("signal container: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		c.signal(signal)
	}
	return nil
}

func (c *container) signal(signal string) {
	switch strings.TrimPrefix(signal, "SIG") {
	case "KILL":
		c.exit(exitKilled)
	case "", "TERM", "INT", "QUIT":
		if !c.stubborn {
			c.exit(exitTerminated)
		}
	}
}

// StopContainer implements [runtime.Containers].
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	if err := r.call(ctx, Call{Verb: "StopContainer", ID: id}); err != nil {
		return fmt.Errorf("stop container: %w", err)
	}
	r.mu.Lock()
	c, ok := r.containers[id]
	if ok && grace > 0 {
		c.signal("")
	}
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if grace > 0 {
		ended, err := r.waitExit(ctx, c, grace)
		if ended || err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.signal("KILL")
	return nil
}

// waitExit waits for an exit, up to a time.
func (r *Runtime) waitExit(ctx context.Context, c *container, d time.Duration) (ended bool, err error) {
	passed := make(chan struct{})
	stop := r.clock.AfterFunc(d, func() { close(passed) })
	defer stop()
	select {
	case <-c.exited:
		return true, nil
	case <-passed:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// RemoveContainer implements [runtime.Containers].
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.call(ctx, Call{Verb: "RemoveContainer", ID: id}); err != nil {
		return fmt.Errorf("remove container: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.containers[id]; ok {
		r.remove(c)
		r.bell.Ring(c.pod.id.UID)
	}
	return nil
}

func (r *Runtime) remove(c *container) {
	c.exit(exitKilled)
	delete(r.containers, c.state.ID)
	delete(c.pod.containers, c.state.ID)
}
