package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Times of a supervised containerd. It answers about 0.1 s after its start on an
// idle machine, many times that on a busy one.
const (
	startPatience = 60 * time.Second
	startPoll     = 20 * time.Millisecond
	stopPatience  = 10 * time.Second
	firstPause    = 100 * time.Millisecond
	longestPause  = 10 * time.Second
	soundRun      = 30 * time.Second // after it the pause begins anew
)

// configFile is containerd's own. What is disabled would need a kernel module or
// a program that is not there, or would serve somebody else.
const configFile = `version = 2
root = %q
state = %q
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images", "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt",
]
[grpc]
  address = %q
[ttrpc]
  address = %q
`

// daemon keeps one containerd running, its own child or one that a former
// process of ours has left.
type daemon struct {
	dir    string // of containerd's files
	binary string
	log    *zap.Logger
}

func (d *daemon) socket() string { return filepath.Join(d.dir, "c.sock") }

// ensure returns the pid of a containerd that accepts connections, and starts one
// if there is none.
func (d *daemon) ensure(ctx context.Context) (pid int, err error) {
	if pid, err := peer(ctx, d.socket()); err == nil {
		return pid, nil
	}
	if err := d.spawn(); err != nil {
		return 0, fmt.Errorf("start containerd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		if pid, err = peer(ctx, d.socket()); err == nil {
			return pid, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("start containerd: it does not answer, see %s: %w", d.output(), err)
		}
	}
}

// spawn starts containerd in a session of its own, so that neither a signal to
// our group nor our end reaches it.
func (d *daemon) spawn() error {
	for _, dir := range []string{"root", "state"} {
		if err := os.MkdirAll(filepath.Join(d.dir, dir), 0o700); err != nil {
			return err
		}
	}
	config := filepath.Join(d.dir, "config.toml")
	text := fmt.Sprintf(configFile, filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), d.socket(), filepath.Join(d.dir, "t.sock"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	output, err := os.OpenFile(d.output(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()                              // the child has its own
	cmd := exec.Command(d.binary, "--config", config) //nolint:noctx // it outlives every context
	cmd.Stdout, cmd.Stderr, cmd.Dir = output, output, d.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // reaps it; how it ended is in its output
	pid := strconv.Itoa(cmd.Process.Pid)
	return os.WriteFile(filepath.Join(d.dir, "containerd.pid"), []byte(pid+"\n"), 0o600)
}

func (d *daemon) output() string { return filepath.Join(d.dir, "containerd.log") }

// supervise starts containerd again whenever it has died, until ctx ends.
func (d *daemon) supervise(ctx context.Context, pid int) {
	pause := firstPause
	for {
		since := time.Now()
		if err := waitEnd(ctx, pid); err != nil {
			return
		}
		if time.Since(since) > soundRun {
			pause = firstPause
		}
		d.log.Warn("containerd has died; starting it again", zap.Int("pid", pid), zap.Duration("pause", pause))
		for pid = 0; pid == 0; pause = min(2*pause, longestPause) {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
			var err error
			if pid, err = d.ensure(ctx); err != nil && ctx.Err() == nil {
				d.log.Error("containerd cannot be started", zap.Error(err))
			}
		}
	}
}

// stop ends containerd, kindly at first. One that does not run is no error.
func (d *daemon) stop(ctx context.Context) error {
	pid, err := peer(ctx, d.socket())
	if err != nil {
		return nil //nolint:nilerr // nobody answers: there is nothing to stop
	}
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("stop containerd: %w", err)
		}
		patience, cancel := context.WithTimeout(ctx, stopPatience)
		err = waitEnd(patience, pid)
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("stop containerd: %w", err)
}

// peer is the process that listens on a socket.
func peer(ctx context.Context, socket string) (int, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("connection to %s is no unix socket", socket)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// waitEnd returns nil when a process, not necessarily a child, has ended, or the
// context's error.
func waitEnd(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	// A pipe that is closed when ctx ends, so that one call waits for both.
	r, w, err := os.Pipe()
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer func() {
		if stop() {
			_ = w.Close()
		}
		_ = r.Close()
		_ = unix.Close(fd)
	}()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(r.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("watch process %d: %w", pid, err)
		case fds[0].Revents != 0:
			return nil
		default:
			return ctx.Err()
		}
	}
}
