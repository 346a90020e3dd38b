package network_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"periplus.dev/nodeagent/network"
)

var cidr = netip.MustParsePrefix("10.251.7.0/29") // room for five pods

// inOwnNamespace runs the test on a thread in a network namespace of its own, so
// that nothing of the machine changes.
func inOwnNamespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	goruntime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
}

func TestRoutedPodsReachEachOther(t *testing.T) {
	inOwnNamespace(t)
	r := newRouted(t)
	a, aDir := attach(t, r, "a")
	b, bDir := attach(t, r, "b")
	if a == b {
		t.Fatalf("both pods have %s", a)
	}
	listener := listenIn(t, aDir, a)
	for name, dial := range map[string]func() (net.Conn, error){
		"from the node":     func() (net.Conn, error) { return net.Dial("tcp", listener.Addr().String()) },
		"from another pod":  func() (net.Conn, error) { return dialIn(t, bDir, listener.Addr().String()) },
		"from the same pod": func() (net.Conn, error) { return dialIn(t, aDir, listener.Addr().String()) },
	} {
		conn, err := dial()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if from, _, _ := net.SplitHostPort(conn.LocalAddr().String()); name == "from another pod" && from != b.String() {
			t.Errorf("%s: source address %s, want %s", name, from, b)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRoutedDetachLeavesNothing(t *testing.T) {
	inOwnNamespace(t)
	r := newRouted(t)
	for range 2 { // the second time it is not there any more
		attach(t, r, "a")
		for range 2 {
			if err := r.Detach("a"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if links := ours(t); len(links) > 0 {
		t.Errorf("left: %v", links)
	}
}

func TestRoutedGoesOnAfterARestart(t *testing.T) {
	inOwnNamespace(t)
	old := newRouted(t)
	kept, _ := attach(t, old, "kept")
	attach(t, old, "forgotten")

	r := newRouted(t)
	for range 2 {
		if !r.Adopt("kept", kept) {
			t.Error("address cannot be adopted")
		}
	}
	if r.Adopt("other", kept) {
		t.Error("address adopted by two pods")
	}
	if err := r.Prune(); err != nil {
		t.Fatal(err)
	}
	if links := ours(t); len(links) != 1 || !strings.HasSuffix(links[0], "/kept") {
		t.Errorf("left: %v, want that of kept", links)
	}
	for range 4 {
		if a, _ := attach(t, r, "new"+string(rune('a'+len(ours(t))))); a == kept {
			t.Errorf("%s handed out twice", a)
		}
	}
	dir := pin(t, "full")
	if a, err := r.Attach("full", network.Path(dir, "net"), netip.Addr{}); err == nil {
		t.Errorf("a sixth pod got %s of %s", a, cidr)
	}
}

func TestPin(t *testing.T) {
	inOwnNamespace(t)
	dir := pin(t, "web-1")
	if !network.Pinned(dir) {
		t.Fatal("not pinned")
	}
	if err := network.Pin(dir, "web-2"); err != nil {
		t.Fatalf("pin again: %v", err)
	}
	for range 2 {
		if err := network.Unpin(dir); err != nil {
			t.Fatal(err)
		}
	}
	if network.Pinned(dir) {
		t.Error("still pinned")
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts left below %s (%v)", dir, err)
	}
}

func newRouted(t *testing.T) *network.Routed {
	t.Helper()
	r, err := network.NewRouted(network.Config{Owner: "n1", CIDR: cidr})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pin(t *testing.T, hostname string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ns")
	if err := network.Pin(dir, hostname); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Unpin(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func attach(t *testing.T, r *network.Routed, uid string) (netip.Addr, string) {
	t.Helper()
	dir := pin(t, uid)
	a, err := r.Attach(uid, network.Path(dir, "net"), netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	return a, dir
}

// ours lists the marks of the interfaces in this namespace.
func ours(t *testing.T) []string {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Alias, "periplus/") {
			out = append(out, l.Attrs().Alias)
		}
	}
	return out
}

// within runs f in a pod's network namespace.
func within(t *testing.T, dir string, f func()) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := netns.GetFromPath(network.Path(dir, "net"))
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	f()
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
}

func listenIn(t *testing.T, dir string, a netip.Addr) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	within(t, dir, func() { l, err = net.Listen("tcp", netip.AddrPortFrom(a, 0).String()) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dialIn(t *testing.T, dir, addr string) (conn net.Conn, err error) {
	t.Helper()
	within(t, dir, func() { conn, err = net.Dial("tcp", addr) })
	return conn, err
}
