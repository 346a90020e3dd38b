package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dataDir is a cluster's directory, as documented in docs/operations.md.
type dataDir string

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }
func (d dataDir) pidFile() string         { return d.path("periplus.pid") }
func (d dataDir) logFile() string         { return d.path("periplus.log") }
func (d dataDir) kubeconfig() string      { return d.path("kubeconfig") }

// dirMode keeps keys and logs from other users.
const dirMode = 0o700

// lock makes the directory if needed and holds it for this process until the
// returned function is called. A directory in use is an error that names the
// process.
func (d dataDir) lock() (unlock func(), err error) {
	if err := os.MkdirAll(string(d), dirMode); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	f, err := os.OpenFile(d.pidFile(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid, _ := d.pid()
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by process %d: stop it with `periplus down --data-dir %s`, or choose another --data-dir", d, pid, d)
		}
		return nil, fmt.Errorf("lock data directory %s: %w", d, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write %s: %w", d.pidFile(), err)
	}
	return func() {
		_ = f.Truncate(0)
		_ = f.Close()
	}, nil
}

// forsake removes a file, and the directory if it is empty then: what a start
// that was refused would leave behind.
func (d dataDir) forsake(file string) {
	_ = os.Remove(file)
	_ = os.Remove(string(d)) // refused if there is anything in it
}

// pid is the process that holds the directory, 0 if it says none.
func (d dataDir) pid() (int, error) {
	raw, err := os.ReadFile(d.pidFile())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}

// held reports whether a process holds the directory.
func (d dataDir) held() (bool, error) {
	f, err := os.Open(d.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", d.pidFile(), err)
	}
	defer func() { _ = f.Close() }()
	err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	default:
		return false, fmt.Errorf("look at lock of %s: %w", d, err)
	}
}

// released waits until no process holds the directory.
func (d dataDir) released(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		held, err := d.held()
		if err != nil || !held {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the process to end: %w", ctx.Err())
		}
	}
}
