// Package fakeruntime is a node without a machine: it obeys the contract of
// nodeagent/runtime in memory, needs no privilege, and holds thousands of pods
// in one process. Tests, simulations and hollow nodes run on it.
//
// Its containers run programs of a small language (see program.go) that knows
// the names of our test image's toolbox: `sleep 5; exit 3`, `echo hi`, `stubborn`.
// Anything else runs until it is told to stop, as a server would. Every image
// exists that has a valid name, unless it says otherwise itself ("no-such" in
// the name or the tag) or [Config.Missing] does; a command with "no-such" or
// "nonexist" in its name cannot be started.
//
// It starts no goroutine: time passes by [Clock] alone, so that a simulation can
// own it. What is on the node is lost with the value. Start at [New].
package fakeruntime

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// Config describes a node. The zero value works: a node of 4 cores, 8 GiB and
// 110 pods in which everything happens at once and nothing fails.
type Config struct {
	NodeName     string       // empty: "fake"
	PodCIDR      netip.Prefix // IPv4, /12 to /29; zero: 10.244.0.0/24
	CPUMillis    int64        // zero: 4000
	MemoryBytes  int64        // zero: 8 GiB
	StorageBytes int64        // zero: 100 GiB
	MaxPods      int          // what Info says; zero: 110

	Clock Clock // nil: the clock of the machine

	// Missing says which images no registry has; nil: those with "no-such" in
	// their name. It is given full names.
	Missing func(ref string) bool
	// Latency is how long a call takes; nil: no time.
	Latency func(Call) time.Duration
	// Fail is asked at the end of each call's latency, before anything is done;
	// what it returns is what the call returns. Nil: nothing fails.
	Fail func(Call) error
}

// Call is one call of a runtime, for Config.Latency and Config.Fail. Fields that
// do not belong to the verb are empty.
type Call struct {
	Verb      string // the name of the method: "StartContainer"
	UID       string
	Container string
	Attempt   int
	ID        string
	Image     string // in full
}

// Clock is the time that passes on the node.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once, not within AfterFunc itself, when d has passed.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type machineClock struct{}

func (machineClock) Now() time.Time { return time.Now() }

func (machineClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// Runtime is a node in memory. It implements [runtime.Runtime].
type Runtime struct {
	config Config
	clock  Clock
	bell   runtime.Bell

	mu         sync.Mutex
	addresses  *network.Pool
	images     map[string]runtime.Image // by full name
	pods       map[string]*pod          // by UID
	containers map[string]*container    // by id
	boots      int
}

var _ runtime.Runtime = (*Runtime)(nil)

// New makes an empty node. The error names the field of the config that is wrong.
func New(c Config) (*Runtime, error) {
	c = withDefaults(c)
	pool, err := network.NewPool(c.PodCIDR)
	if err != nil {
		return nil, fmt.Errorf("new fake runtime: %w", err)
	}
	return &Runtime{
		config: c, clock: c.Clock, addresses: pool, boots: 1,
		images: map[string]runtime.Image{}, pods: map[string]*pod{}, containers: map[string]*container{},
	}, nil
}

func withDefaults(c Config) Config {
	set(&c.NodeName, "fake")
	set(&c.PodCIDR, netip.MustParsePrefix("10.244.0.0/24"))
	set(&c.CPUMillis, 4000)
	set(&c.MemoryBytes, 8<<30)
	set(&c.StorageBytes, 100<<30)
	set(&c.MaxPods, 110)
	if c.Clock == nil {
		c.Clock = machineClock{}
	}
	if c.Missing == nil {
		c.Missing = func(ref string) bool { return strings.Contains(ref, "no-such") }
	}
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// call lets a call take its time and fail, if the config says so.
func (r *Runtime) call(ctx context.Context, c Call) error {
	if r.config.Latency != nil {
		if err := r.wait(ctx, r.config.Latency(c)); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.config.Fail != nil {
		return r.config.Fail(c)
	}
	return nil
}

func (r *Runtime) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	passed := make(chan struct{})
	stop := r.clock.AfterFunc(d, func() { close(passed) })
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		stop()
		return ctx.Err()
	}
}

// Info implements [runtime.Runtime].
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	if err := r.call(ctx, Call{Verb: "Info"}); err != nil {
		return runtime.Info{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return runtime.Info{
		Runtime: "fake", RuntimeVersion: "1", Hostname: r.config.NodeName,
		KernelVersion: "none", OSImage: "Periplus hollow node", OperatingSystem: "linux", Architecture: "amd64",
		MachineID: r.config.NodeName, BootID: fmt.Sprintf("%s-%d", r.config.NodeName, r.boots),
		CPUMillis: r.config.CPUMillis, MemoryBytes: r.config.MemoryBytes, StorageBytes: r.config.StorageBytes,
		MaxPods: r.config.MaxPods, PodCIDR: r.addresses.Prefix().String(), Addresses: []string{r.addresses.Gateway().String()},
	}, nil
}

// Watch implements [runtime.State].
func (r *Runtime) Watch(ctx context.Context, fn func(runtime.Event)) error {
	return r.bell.Watch(ctx, fn)
}

// Reboot does what a restart of the machine does: nothing runs any longer, and
// nobody knows how it ended; sandboxes are gone, logs and images stay.
func (r *Runtime) Reboot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.boots++
	for _, p := range r.pods {
		p.loseSandbox(r.addresses)
		for _, c := range p.containers {
			c.lose()
		}
	}
	r.bell.Ring("")
}

// Kill ends a container from outside, as the kernel does when memory runs out,
// or anybody with a signal. ErrNotFound if it does not run.
func (r *Runtime) Kill(id string, exitCode int, oom bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.containers[id]
	if !ok || c.state.Phase != runtime.Running {
		return fmt.Errorf("kill container %s: %w", id, runtime.ErrNotFound)
	}
	c.state.OOMKilled = oom
	c.exit(exitCode)
	return nil
}
