package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"periplus.dev/nodeagent/containerd"
	"periplus.dev/nodeagent/runtime"
)

// A pod is reached by its address from the node and from other pods; containers
// of one pod share loopback; what a pod reaches the node by is an address of the
// node.
func TestPodsReachEachOther(t *testing.T) {
	r := newNode(t).start(t)
	server, other := sandboxed(t, r, "server"), sandboxed(t, r, "other")
	web := run(t, r, server, "/bin/http")
	waitLine(t, r, server, "listening")
	url := "http://" + states(t, r)[server.UID].Sandbox.IPs[0] + ":8080/"

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil || !strings.Contains(string(body), "server") {
		t.Errorf("from the node: %q, %v", body, err)
	}
	for _, c := range []struct {
		from runtime.Pod
		url  string
	}{{other, url}, {server, "http://localhost:8080/"}, {server, url}, {server, "http://server:8080/"}} {
		get := run(t, r, c.from, "/bin/get", c.url)
		if end := exited(t, r, get.ID); end.ExitCode != 0 || !strings.Contains(logOf(t, r, c.from.UID), "server") {
			t.Errorf("%s from %s: exit code %d, %q", c.url, c.from.Name, end.ExitCode, logOf(t, r, c.from.UID))
		}
	}
	if got := states(t, r)[server.UID].Containers[0]; got.ID != web.ID || got.Phase != runtime.Running {
		t.Errorf("the server: %+v", got)
	}
}

func TestMounts(t *testing.T) {
	n := newNode(t)
	r := n.start(t)
	volume := t.TempDir()
	if err := os.WriteFile(filepath.Join(volume, "greeting"), []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mounted := func(readOnly bool) func(*runtime.ContainerSpec) {
		return func(c *runtime.ContainerSpec) {
			c.Mounts = []runtime.Mount{{HostPath: volume, ContainerPath: "/data", ReadOnly: readOnly}}
		}
	}
	for i, c := range []struct {
		name    string
		change  func(*runtime.ContainerSpec)
		command []string
		code    int
		printed string
	}{
		{"read", mounted(true), []string{"/bin/cat", "/data/greeting"}, 0, "hello\n"},
		{"write", mounted(false), []string{"/bin/write", "/data/answer", "hi"}, 0, ""},
		{"write read-only", mounted(true), []string{"/bin/write", "/data/no", "hi"}, 1, ""},
		{"root", nil, []string{"/bin/write", "/answer", "hi"}, 0, ""},
		{"root read-only", func(c *runtime.ContainerSpec) { c.Security.ReadOnlyRoot = true }, []string{"/bin/write", "/answer", "hi"}, 1, ""},
		{"host name", nil, []string{"/bin/cat", "/etc/hostname"}, 0, "files\n"},
		{"cgroup", func(c *runtime.ContainerSpec) { c.Resources.MemoryLimitBytes = 64 << 20 },
			[]string{"/bin/cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}, 0, "67108864\n"},
		{"resolv.conf", nil, []string{"/bin/cat", "/etc/resolv.conf"}, 0, "nameserver 10.96.0.10\n"},
		{"hosts", nil, []string{"/bin/cat", "/etc/hosts"}, 0, "10.9.9.9\tdb\tdatabase\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := os.Stat("/sys/fs/cgroup/memory"); c.name == "cgroup" && err != nil {
				t.Skip("this machine has cgroups of version 2")
			}
			p := runtime.Pod{UID: fmt.Sprintf("files-%d", i), Namespace: "default", Name: "files"}
			sandbox := runtime.SandboxSpec{Pod: p, ResolvConf: "nameserver 10.96.0.10\n",
				HostAliases: []runtime.HostAlias{{IP: "10.9.9.9", Names: []string{"db", "database"}}}}
			if _, err := r.CreateSandbox(t.Context(), sandbox); err != nil {
				t.Fatal(err)
			}
			spec := specOf(p, 0, c.command...)
			if c.change != nil {
				c.change(&spec)
			}
			container, err := r.StartContainer(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			end, printed := exited(t, r, container.ID), logOf(t, r, p.UID)
			if end.ExitCode != c.code || !strings.Contains(printed, c.printed) {
				t.Errorf("exit code %d, want %d; printed %q, want %q in it", end.ExitCode, c.code, printed, c.printed)
			}
		})
	}
	if got, err := os.ReadFile(filepath.Join(volume, "answer")); err != nil || string(got) != "hi\n" {
		t.Errorf("written through the mount: %q, %v", got, err)
	}
	spec := specOf(sandboxed(t, r, "p"), 0, "/bin/true")
	spec.Mounts = []runtime.Mount{{HostPath: "/no/such/folder", ContainerPath: "/data"}}
	_, err := r.StartContainer(t.Context(), spec)
	if reason, _ := runtime.Describe(err, ""); reason != runtime.ReasonConfig {
		t.Errorf("mount of what is not there: %v", err)
	}
}

func TestPrivileged(t *testing.T) {
	r := newNode(t).start(t)
	p := sandboxed(t, r, "p")
	spec := specOf(p, 0, "/bin/write", "/proc/sys/kernel/domainname", "periplus")
	for _, privileged := range []bool{false, true} {
		spec.Security.Privileged = privileged
		c, err := r.StartContainer(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if end := exited(t, r, c.ID); (end.ExitCode == 0) != privileged {
			t.Errorf("privileged %v: exit code %d", privileged, end.ExitCode)
		}
		spec.Attempt++
	}
}

func TestStartRefuses(t *testing.T) {
	good := containerd.Config{Dir: "/tmp/x", NodeName: "n1", PodCIDR: netip.MustParsePrefix("10.252.7.0/24")}
	for name, change := range map[string]func(*containerd.Config){
		"relative folder": func(c *containerd.Config) { c.Dir = "x" },
		"long folder":     func(c *containerd.Config) { c.Dir = "/" + strings.Repeat("x", 100) },
		"no name":         func(c *containerd.Config) { c.NodeName = "" },
		"path as name":    func(c *containerd.Config) { c.NodeName = "a/b" },
		"no range":        func(c *containerd.Config) { c.PodCIDR = netip.Prefix{} },
		"small range":     func(c *containerd.Config) { c.PodCIDR = netip.MustParsePrefix("10.0.0.0/31") },
		"mirror":          func(c *containerd.Config) { c.Mirrors = map[string][]string{"docker.io": {"localhost:5000"}} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			if r, err := containerd.Start(t.Context(), c); err == nil {
				t.Errorf("no error: %v", r.Shutdown(t.Context(), true))
			}
		})
	}
}

// BenchmarkPod measures a pod's way from nothing to running, image present, and
// back, one at a time and four at a time.
func BenchmarkPod(b *testing.B) {
	r := newNode(b).start(b)
	for _, parallel := range []int{1, 4} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			var mu sync.Mutex
			var starts, stops []time.Duration
			work := make(chan int)
			var group sync.WaitGroup
			for range parallel {
				group.Go(func() {
					for i := range work {
						start, stop, err := cycle(b.Context(), r, fmt.Sprintf("bench-%d-%d", parallel, i))
						if err != nil {
							b.Error(err)
						}
						mu.Lock()
						starts, stops = append(starts, start), append(stops, stop)
						mu.Unlock()
					}
				})
			}
			for i := range b.N {
				work <- i
			}
			close(work)
			group.Wait()
			b.ReportMetric(median(starts), "start-ms")
			b.ReportMetric(median(stops), "stop-ms")
		})
	}
}

func cycle(ctx context.Context, r *containerd.Runtime, name string) (start, stop time.Duration, err error) {
	p := runtime.Pod{UID: name, Namespace: "default", Name: name}
	began := time.Now()
	if _, err := r.CreateSandbox(ctx, runtime.SandboxSpec{Pod: p}); err != nil {
		return 0, 0, err
	}
	if _, err := r.StartContainer(ctx, specOf(p, 0, "/bin/sleep", "infinity")); err != nil {
		return 0, 0, err
	}
	start = time.Since(began)
	began = time.Now()
	err = r.RemoveSandbox(ctx, p.UID)
	return start, time.Since(began), err
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// waitLine waits until a pod's container has printed something.
func waitLine(t testing.TB, r *containerd.Runtime, p runtime.Pod, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	seen := writerFunc(func(line []byte) {
		if strings.Contains(string(line), want) {
			cancel()
		}
	})
	if err := r.Logs(ctx, p.UID, "c", runtime.LogOptions{Follow: true}, seen); !errors.Is(err, context.Canceled) {
		t.Fatalf("log ended before %q: %v", want, err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }
