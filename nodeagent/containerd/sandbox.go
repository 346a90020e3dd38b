package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// sandbox is what a pod's containers share. Once made, it is not changed but for
// lost.
type sandbox struct {
	record

	dir  string
	lost bool // its namespaces went with a restart of the machine; guarded by Runtime.mu
}

// record is what sandbox.json holds. The file is written last: a sandbox without
// it was never completed.
type record struct {
	Pod         runtime.Pod       `json:"pod"`
	Hostname    string            `json:"hostname"`
	Address     netip.Addr        `json:"address"`
	HostNetwork bool              `json:"hostNetwork,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	CreatedAt   time.Time         `json:"createdAt"`
}

const recordFile = "sandbox.json"

func (s *sandbox) file(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

func (s *sandbox) namespaces() string { return s.file("ns") }

// startedMark is the file that says that an attempt was started once. It tells a
// container that lost its process from one that never had any.
func (s *sandbox) startedMark(id string) string { return s.file("started", id) }

func (s *sandbox) public() runtime.Sandbox {
	return runtime.Sandbox{
		IPs: []string{s.Address.String()}, HostNetwork: s.HostNetwork, Labels: maps.Clone(s.Labels), CreatedAt: s.CreatedAt,
	}
}

// logDir is where the logs of a pod are.
func (r *Runtime) logDir(p runtime.Pod) string {
	return filepath.Join(r.config.logDir(), p.Namespace+"_"+p.Name+"_"+p.UID)
}

// CreateSandbox implements [runtime.Sandboxes].
func (r *Runtime) CreateSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	if err := checkSandbox(spec); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	unlock, err := r.pods.lock(ctx, spec.Pod.UID)
	if err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	defer unlock()
	old, alive := r.sandbox(spec.Pod.UID)
	if alive {
		return old.public(), nil
	}
	s, err := r.makeSandbox(spec, old)
	if err != nil {
		return runtime.Sandbox{}, fmt.Errorf("create sandbox: %w", err)
	}
	r.mu.Lock()
	r.sandboxes[spec.Pod.UID] = s
	r.mu.Unlock()
	r.bell.Ring(spec.Pod.UID)
	return s.public(), nil
}

func checkSandbox(s runtime.SandboxSpec) error {
	if err := s.Pod.Check(); err != nil {
		return err
	}
	if len(s.Hostname) > 63 || strings.ContainsAny(s.Hostname, "/ \t\n\x00") {
		return fmt.Errorf("%w: host name %q", runtime.ErrInvalid, s.Hostname)
	}
	if len(s.HostPorts) > 0 && !s.HostNetwork {
		return fmt.Errorf("host port %d: %w", s.HostPorts[0].HostPort, runtime.ErrUnsupported)
	}
	return nil
}

// sandbox finds a pod's sandbox; alive is false if there is none or it is lost.
func (r *Runtime) sandbox(uid string) (s *sandbox, alive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s = r.sandboxes[uid]
	return s, s != nil && !s.lost
}

// makeSandbox makes a sandbox, in place of a lost one if old is not nil.
func (r *Runtime) makeSandbox(spec runtime.SandboxSpec, old *sandbox) (_ *sandbox, err error) {
	s := &sandbox{dir: filepath.Join(r.config.sandboxDir(), spec.Pod.UID), record: record{
		Pod: spec.Pod, Hostname: shortHostname(cmp.Or(spec.Hostname, spec.Pod.Name)), HostNetwork: spec.HostNetwork,
		Labels: spec.Labels, CreatedAt: time.Now().UTC().Truncate(time.Millisecond),
	}}
	if spec.HostNetwork {
		if s.Hostname, err = os.Hostname(); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil && old == nil {
			err = errors.Join(err, r.dropSandbox(s))
		}
	}()
	if err := network.Pin(s.namespaces(), s.Hostname); err != nil {
		return nil, err
	}
	if err := r.connect(s, old); err != nil {
		return nil, err
	}
	if err := writeEtc(s, spec); err != nil {
		return nil, err
	}
	content, err := json.Marshal(s.record)
	if err != nil {
		return nil, fmt.Errorf("encode sandbox record: %w", err)
	}
	if err := writeFile(s.file(recordFile), content); err != nil {
		return nil, err
	}
	return s, nil
}

// shortHostname cuts a pod's name to what the kernel takes for a host's.
func shortHostname(name string) string {
	if len(name) > 63 {
		name = strings.TrimRight(name[:63], "-.")
	}
	return name
}

// connect gives the sandbox its address, if it can be the one it had.
func (r *Runtime) connect(s, old *sandbox) error {
	if s.HostNetwork {
		s.Address = r.network.Gateway()
		return nil
	}
	var want netip.Addr
	if old != nil {
		want = old.Address
	}
	a, err := r.network.Attach(s.Pod.UID, network.Path(s.namespaces(), "net"), want)
	if errors.Is(err, network.ErrFull) {
		return fmt.Errorf("%w: %w", runtime.ErrNoAddress, err)
	}
	s.Address = a
	return err
}

// writeEtc writes the files that every container of the pod sees in its /etc.
func writeEtc(s *sandbox, spec runtime.SandboxSpec) error {
	resolv := []byte(spec.ResolvConf)
	if spec.ResolvConf == "" {
		var err error
		if resolv, err = os.ReadFile("/etc/resolv.conf"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("read resolv.conf: %w", err)
		}
	}
	var hosts strings.Builder
	fmt.Fprintf(&hosts, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n%s\t%s\n", s.Address, s.Hostname)
	for _, a := range spec.HostAliases {
		fmt.Fprintf(&hosts, "%s\t%s\n", a.IP, strings.Join(a.Names, "\t"))
	}
	if err := os.MkdirAll(s.file("started"), 0o700); err != nil {
		return fmt.Errorf("make sandbox folder: %w", err)
	}
	if err := os.MkdirAll(s.file("etc"), 0o700); err != nil {
		return fmt.Errorf("make sandbox folder: %w", err)
	}
	for name, content := range map[string][]byte{
		"hosts": []byte(hosts.String()), "hostname": []byte(s.Hostname + "\n"), "resolv.conf": resolv,
	} {
		if err := os.WriteFile(s.file("etc", name), content, 0o644); err != nil { //nolint:gosec // any user of the container reads them
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// writeFile replaces a file as a whole or not at all.
func writeFile(path string, content []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, content, 0o600); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	return nil
}

// RemoveSandbox implements [runtime.Sandboxes].
func (r *Runtime) RemoveSandbox(ctx context.Context, uid string) error {
	if err := r.removeSandbox(ctx, uid); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", uid, err)
	}
	return nil
}

func (r *Runtime) removeSandbox(ctx context.Context, uid string) error {
	unlock, err := r.pods.lock(ctx, uid)
	if err != nil {
		return err
	}
	defer unlock()
	containers, err := r.containersOf(ctx, uid)
	if err != nil {
		return err
	}
	s, _ := r.sandbox(uid)
	if s == nil && len(containers) == 0 {
		return nil
	}
	release, err := acquire(ctx, r.stops)
	if err != nil {
		return err
	}
	defer release()
	for _, c := range containers {
		if err := r.removeContainer(ctx, c); err != nil {
			return err
		}
	}
	if s == nil { // its record was lost; its containers say who it was
		s = &sandbox{dir: filepath.Join(r.config.sandboxDir(), uid), record: record{Pod: containers[0].pod}}
	}
	if err := errors.Join(os.RemoveAll(r.logDir(s.Pod)), r.dropSandbox(s)); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.sandboxes, uid)
	r.mu.Unlock()
	r.bell.Ring(uid)
	return nil
}

// dropSandbox removes a sandbox that no container uses.
func (r *Runtime) dropSandbox(s *sandbox) error {
	err := errors.Join(r.network.Detach(s.Pod.UID), network.Unpin(s.namespaces()), removeCgroups(r.cgroup(s.Pod.UID)))
	if err != nil {
		return err
	}
	return os.RemoveAll(s.dir)
}
