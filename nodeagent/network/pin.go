package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// spaces are the namespaces of a pod, by the names they have in /proc.
var spaces = []string{"net", "ipc", "uts"}

// anyoneMayBind lets a container that is not root listen on port 80, as
// Kubernetes does: whose port it is, is decided by the pod's own address.
const anyoneMayBind = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

// Path is where one of a pod's namespaces ("net", "ipc", "uts") is pinned.
func Path(dir, space string) string { return filepath.Join(dir, space) }

// Pin makes new network, IPC and UTS namespaces and pins them to files in dir. In
// them the host has the given name and loopback is up. What was pinned in dir
// before is let go. On an error nothing is left pinned.
func Pin(dir, hostname string) error {
	if err := Unpin(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pin namespaces: %w", err)
	}
	done := make(chan error, 1)
	go func() {
		// The thread belongs to the pod from here on; it is never unlocked, so it
		// ends with the goroutine.
		runtime.LockOSThread()
		done <- pinThread(dir, hostname)
	}()
	if err := <-done; err != nil {
		return errors.Join(fmt.Errorf("pin namespaces: %w", err), Unpin(dir))
	}
	return nil
}

func pinThread(dir, hostname string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name %q: %w", hostname, err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	if err := os.WriteFile(anyoneMayBind, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("allow low ports: %w", err)
	}
	for _, space := range spaces {
		from := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), space)
		if err := bind(from, Path(dir, space)); err != nil {
			return fmt.Errorf("pin %s namespace: %w", space, err)
		}
	}
	return nil
}

func bind(from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return unix.Mount(from, to, "", unix.MS_BIND, "")
}

// Pinned reports whether all namespaces of dir are there. After a restart of the
// machine the files are there, but nothing is pinned to them.
func Pinned(dir string) bool {
	for _, space := range spaces {
		var st unix.Statfs_t
		if err := unix.Statfs(Path(dir, space), &st); err != nil || st.Type != unix.NSFS_MAGIC {
			return false
		}
	}
	return true
}

// Unpin lets the namespaces of dir go and removes it. A dir that is not there is
// no error.
func Unpin(dir string) error {
	for _, space := range spaces {
		// A crash between two pins of one pod can leave mounts upon mounts.
		for {
			err := unix.Unmount(Path(dir, space), unix.MNT_DETACH)
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
				break
			}
			if err != nil {
				return fmt.Errorf("unpin %s namespace: %w", space, err)
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("unpin namespaces: %w", err)
	}
	return nil
}
