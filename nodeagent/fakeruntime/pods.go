package fakeruntime

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// pod is what is on the node for one pod. The runtime's mutex guards it.
type pod struct {
	id         runtime.Pod
	sandbox    *runtime.Sandbox
	hostname   string
	address    netip.Addr // its own; invalid with the node's network; kept when the sandbox is lost
	containers map[string]*container
	logs       map[string][]*logged // by container name, oldest attempt first
}

// loseSandbox lets the namespaces go, and the address free for others.
func (p *pod) loseSandbox(pool *network.Pool) {
	if p.sandbox != nil && p.address.IsValid() {
		pool.Release(p.address)
	}
	p.sandbox = nil
}

// CreateSandbox implements [runtime.Sandboxes].
func (r *Runtime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := checkSandbox(spec); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	if err := r.call(ctx, Call{Verb: "CreateSandbox", UID: spec.Pod.UID}); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[spec.Pod.UID]
	if p != nil && p.sandbox != nil {
		return *p.sandbox, nil
	}
	if p == nil {
		p = &pod{id: spec.Pod, containers: map[string]*container{}, logs: map[string][]*logged{}}
	}
	ips, err := r.address(p, spec.HostNetwork)
	if err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	p.hostname = cmp.Or(spec.Hostname, spec.Pod.Name)
	p.sandbox = &runtime.Sandbox{
		IPs: ips, HostNetwork: spec.HostNetwork, Labels: maps.Clone(spec.Labels), CreatedAt: r.clock.Now().UTC(),
	}
	r.pods[spec.Pod.UID] = p
	r.bell.Ring(spec.Pod.UID)
	return *p.sandbox, nil
}

// address gives a pod the address that it had, or another one.
func (r *Runtime) address(p *pod, hostNetwork bool) ([]string, error) {
	if hostNetwork {
		return []string{r.addresses.Gateway().String()}, nil
	}
	if !p.address.IsValid() || !r.addresses.Take(p.address) {
		a, ok := r.addresses.Next()
		if !ok {
			return nil, fmt.Errorf("%w in %s", runtime.ErrNoAddress, r.addresses.Prefix())
		}
		p.address = a
	}
	return []string{p.address.String()}, nil
}

func checkSandbox(s runtime.SandboxSpec) error {
	if err := s.Pod.Check(); err != nil {
		return err
	}
	if len(s.HostPorts) > 0 && !s.HostNetwork {
		return fmt.Errorf("host port %d: %w", s.HostPorts[0].HostPort, runtime.ErrUnsupported)
	}
	return nil
}

// RemoveSandbox implements [runtime.Sandboxes].
func (r *Runtime) RemoveSandbox(ctx context.Context, uid string) error {
	if err := r.call(ctx, Call{Verb: "RemoveSandbox", UID: uid}); err != nil {
		return fmt.Errorf("remove sandbox: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pods[uid]
	if p == nil {
		return nil
	}
	for _, c := range p.containers {
		r.remove(c)
	}
	p.loseSandbox(r.addresses)
	delete(r.pods, uid)
	r.bell.Ring(uid)
	return nil
}

// List implements [runtime.State].
func (r *Runtime) List(ctx context.Context) ([]runtime.PodState, error) {
	if err := r.call(ctx, Call{Verb: "List"}); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]runtime.PodState, 0, len(r.pods))
	for _, uid := range slices.Sorted(maps.Keys(r.pods)) {
		out = append(out, r.pods[uid].state())
	}
	return out, nil
}

// state is a copy that nobody changes.
func (p *pod) state() runtime.PodState {
	s := runtime.PodState{Pod: p.id}
	if p.sandbox != nil {
		sandbox := *p.sandbox
		s.Sandbox = &sandbox
	}
	for _, c := range p.containers {
		s.Containers = append(s.Containers, c.state)
	}
	slices.SortFunc(s.Containers, func(a, b runtime.ContainerState) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Attempt, b.Attempt))
	})
	return s
}
