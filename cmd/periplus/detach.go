package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// readyVariable tells a detached process which descriptor to report to: one
// line, "ready" or the reason why it will not be.
const readyVariable = "PERIPLUS_READY_FD"

// detach starts this command again in a session of its own, its output in the
// directory's log file, and returns when it is ready or has failed.
func detach(ctx context.Context, d dataDir, args []string) error {
	if err := os.MkdirAll(string(d), dirMode); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	fresh := !isFile(d.logFile())
	out, err := os.OpenFile(d.logFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log file: %w", err)
	}
	defer func() { _ = out.Close() }()
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command(self, args...) //nolint:noctx // ourselves; it outlives this process on purpose
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start in the background: %w", err), w.Close())
	}
	_ = w.Close()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })()
	line, _ := bufio.NewReader(r).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == "ready":
		return cmd.Process.Release()
	case line != "":
		_ = cmd.Wait()
		if fresh {
			d.forsake(d.logFile()) // it says the same
		}
		return errors.New(line)
	default:
		err := cmd.Wait()
		return fmt.Errorf("the cluster did not start: %w; see %s", orEnded(err), d.logFile())
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// announcer returns where a detached process reports to, or nil.
func announcer() io.WriteCloser {
	fd, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(readyVariable)
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "ready")
}
