package containerd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"periplus.dev/nodeagent/containerd"
	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// Whoever runs goes on while the agent is away, and nothing that it prints is
// lost; whoever ended meanwhile is known to have ended.
func TestAgentRestarts(t *testing.T) {
	n := newNode(t)
	first := n.start(t)
	talks, dies := sandboxed(t, first, "talks"), sandboxed(t, first, "dies")
	talking := run(t, first, talks, "/bin/print-lines", "-every", "5ms", "100")
	dying := run(t, first, dies, "/bin/sleep", "infinity")
	before := states(t, first)
	pids := processes(t, "/periplus/runtime-test/"+dies.UID)

	if err := first.Shutdown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if len(pids) != 1 {
		t.Fatalf("processes of the container that is to die: %v", pids)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}

	second := n.start(t)
	after := states(t, second)
	for _, uid := range []string{talks.UID, dies.UID} {
		if a, b := before[uid].Sandbox.IPs[0], after[uid].Sandbox.IPs[0]; a != b {
			t.Errorf("address was %s, is %s", a, b)
		}
	}
	if end := exited(t, second, dying.ID); end.ExitCode != 137 || end.OOMKilled {
		t.Errorf("killed while nobody looked: %+v", end)
	}
	if end := exited(t, second, talking.ID); end.ExitCode != 0 || end.ID != talking.ID || !end.StartedAt.Equal(talking.StartedAt) {
		t.Errorf("went on while nobody looked: %+v", end)
	}
	want := ""
	for i := range 100 {
		want += fmt.Sprintf("line %d\n", i+1)
	}
	if got := logOf(t, second, talks.UID); got != want {
		t.Errorf("log has %d bytes, want %d:\n%s", len(got), len(want), got)
	}
	fresh := sandboxed(t, second, "fresh")
	if a := states(t, second)[fresh.UID].Sandbox.IPs[0]; a == after[talks.UID].Sandbox.IPs[0] || a == after[dies.UID].Sandbox.IPs[0] {
		t.Errorf("address %s was handed out twice", a)
	}
}

// containerd is started again when it dies; containers do not notice.
func TestContainerdDies(t *testing.T) {
	n := newNode(t)
	r := n.start(t)
	p := sandboxed(t, r, "p")
	c := run(t, r, p, "/bin/print-lines", "-every", "10ms", "60")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	again := make(chan struct{}, 1)
	go func() {
		seen := 0
		_ = r.Watch(ctx, func(e runtime.Event) {
			if e.UID != "" {
				return
			}
			if seen++; seen == 2 { // the first is that of every watch
				again <- struct{}{}
			}
		})
	}()
	content, err := os.ReadFile(filepath.Join(n.config.Dir, "containerd", "containerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := r.List(t.Context()); err != nil && !errors.Is(err, runtime.ErrTemporary) {
		t.Errorf("List while containerd is away: %v", err)
	}
	select {
	case <-again:
	case <-time.After(30 * time.Second):
		t.Fatal("containerd is not back")
	}
	if end := exited(t, r, c.ID); end.ExitCode != 0 || end.ID != c.ID {
		t.Errorf("end: %+v", end)
	}
	if got := logOf(t, r, p.UID); strings.Count(got, "\n") != 60 {
		t.Errorf("log: %q", got)
	}
	if c := run(t, r, sandboxed(t, r, "q"), "/bin/true"); exited(t, r, c.ID).ExitCode != 0 {
		t.Error("no container can be started any more")
	}
}

// After a restart of the machine containers are lost, and a sandbox can be made
// again with the address it had.
func TestMachineRestarts(t *testing.T) {
	n := newNode(t)
	first := n.start(t)
	p := sandboxed(t, first, "p")
	c := run(t, first, p, "/bin/sleep", "infinity")
	done := run(t, first, p, "/bin/true")
	exited(t, first, done.ID)
	address := states(t, first)[p.UID].Sandbox.IPs[0]
	if err := first.Shutdown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(processes(t, "/periplus/runtime-test/"+p.UID), belowDir(t, n.config.Dir)...) {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		waitGone(t, pid)
	}
	if err := network.Unpin(filepath.Join(n.config.Dir, "sandboxes", p.UID, "ns")); err != nil {
		t.Fatal(err)
	}

	second := n.start(t)
	state := states(t, second)[p.UID]
	if state.Sandbox != nil || len(state.Containers) != 2 {
		t.Fatalf("after the restart: %+v", state)
	}
	for _, s := range state.Containers {
		if want := map[string]runtime.Phase{c.ID: runtime.Lost, done.ID: runtime.Exited}[s.ID]; s.Phase != want {
			t.Errorf("container %s is %s, want %s", s.Name, s.Phase, want)
		}
	}
	if _, err := second.StartContainer(t.Context(), specOf(p, 2, "/bin/true")); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("start in a lost sandbox: %v", err)
	}
	again, err := second.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: p})
	if err != nil || again.IPs[0] != address {
		t.Errorf("made again: %+v, %v; want %s", again, err, address)
	}
	next, err := second.StartContainer(t.Context(), specOf(p, 2, "/bin/true"))
	if err != nil || exited(t, second, next.ID).ExitCode != 0 {
		t.Errorf("next attempt: %v", err)
	}
}

// What a crash has left half made is removed at the next start.
func TestCrashLeavesNothing(t *testing.T) {
	n := newNode(t)
	if err := n.start(t).Shutdown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(n.config.Dir, "sandboxes", "half")
	if err := network.Pin(filepath.Join(dir, "ns"), "half"); err != nil {
		t.Fatal(err)
	}
	routed, err := network.NewRouted(network.Config{Owner: n.config.NodeName + "@" + n.config.Dir, CIDR: n.config.PodCIDR})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := routed.Attach("half", filepath.Join(dir, "ns", "net"), netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	r := n.start(t)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if pods := states(t, r); len(pods) > 0 {
		t.Errorf("pods: %v", pods)
	}
	if p := sandboxed(t, r, "p"); len(states(t, r)[p.UID].Sandbox.IPs) != 1 {
		t.Error("no address")
	}
}

// With everything shut down, nothing of the node is left but files.
func TestPurge(t *testing.T) {
	n := newNode(t)
	r, err := containerd.Start(t.Context(), n.config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Pull(t.Context(), toolbox); err != nil {
		t.Fatal(err)
	}
	p := sandboxed(t, r, "p")
	run(t, r, p, "/bin/stubborn")
	if err := r.Shutdown(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), n.config.Dir) {
		t.Errorf("mounts are left (%v)", err)
	}
	if left := belowDir(t, n.config.Dir); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left, err := filepath.Glob("/sys/fs/cgroup/*/periplus/runtime-test"); err != nil || len(left) > 0 {
		t.Errorf("cgroups are left: %v (%v)", left, err)
	}
	for _, dir := range []string{"sandboxes", "fifo", "pods"} {
		if left, err := os.ReadDir(filepath.Join(n.config.Dir, dir)); err != nil || len(left) > 0 {
			t.Errorf("files are left in %s: %v (%v)", dir, left, err)
		}
	}
}

func sandboxed(t testing.TB, r *containerd.Runtime, name string) runtime.Pod {
	t.Helper()
	p := runtime.Pod{UID: "uid-" + name, Namespace: "default", Name: name, Node: "n1"}
	if _, err := r.CreateSandbox(t.Context(), runtime.SandboxSpec{Pod: p}); err != nil {
		t.Fatal(err)
	}
	return p
}

// specOf is one attempt of a pod's only container.
func specOf(p runtime.Pod, attempt int, command ...string) runtime.ContainerSpec {
	return runtime.ContainerSpec{Pod: p, Name: "c", Attempt: attempt, Image: toolbox, Command: command}
}

// run starts the next attempt of a pod's container.
func run(t testing.TB, r *containerd.Runtime, p runtime.Pod, command ...string) runtime.Container {
	t.Helper()
	c, err := r.StartContainer(t.Context(), specOf(p, len(states(t, r)[p.UID].Containers), command...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func states(t testing.TB, r *containerd.Runtime) map[string]runtime.PodState {
	t.Helper()
	all, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]runtime.PodState{}
	for _, p := range all {
		out[p.Pod.UID] = p
	}
	return out
}

// exited waits for a container's end.
func exited(t testing.TB, r *containerd.Runtime, id string) runtime.ContainerState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var end runtime.ContainerState
	err := r.Watch(ctx, func(runtime.Event) {
		all, err := r.List(ctx)
		if err != nil {
			return // containerd is away; there will be another event
		}
		for _, p := range all {
			for _, c := range p.Containers {
				if c.ID == id && c.Phase == runtime.Exited {
					end = c
					cancel()
				}
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("container has not exited: %v", err)
	}
	return end
}

func logOf(t testing.TB, r *containerd.Runtime, uid string) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Logs(t.Context(), uid, "c", runtime.LogOptions{}, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// processes are those in a cgroup and the groups in it.
func processes(t testing.TB, cgroup string) []int {
	t.Helper()
	files, err := filepath.Glob("/sys/fs/cgroup/pids" + cgroup + "/*/cgroup.procs")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.FieldsSeq(string(content)) {
			pid, err := strconv.Atoi(line)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// belowDir are the processes that were told of a folder: containerd and shims.
func belowDir(t testing.TB, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		if content, err := os.ReadFile(f); err == nil && bytes.Contains(content, []byte(dir)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// waitGone waits until a process has ended.
func waitGone(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 || err != nil {
		t.Fatalf("process %d does not end: %v", pid, err)
	}
}
