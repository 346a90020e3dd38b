package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// shimProgram is the program behind [runcShim].
const shimProgram = "containerd-shim-runc-v2"

// endStrays ends the shims of our containerd that it does not know any more. A
// containerd before 1.7 forgets the shim of a task whose creation its client has
// broken off, as the end of a process does; nobody else would ever end it.
func (r *Runtime) endStrays(ctx context.Context) error {
	tasks, err := r.tasks(ctx)
	if err != nil {
		return err
	}
	return r.endShims(ctx, func(id string) bool { return tasks[id] == nil })
}

// endShims kills the shims of our containerd for whose container's id chosen says
// so, with what they have started, and waits until they are gone.
func (r *Runtime) endShims(ctx context.Context, chosen func(id string) bool) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("look for shims: %w", err)
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if id, ok := shimOf(pid, r.config.socket()); ok && chosen(id) {
			r.log.Info("a shim is left that nobody needs; ending it", zap.Int("pid", pid), zap.String("container", id))
			errs = append(errs, killTree(ctx, pid))
		}
	}
	return errors.Join(errs...)
}

// shimOf returns the container a process is the shim of, if it is one and works
// for the containerd at a socket. One that only helps for a moment (its last word
// is start or delete) is none.
func shimOf(pid int, socket string) (id string, ok bool) {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	if err != nil || filepath.Base(args[0]) != shimProgram {
		return "", false
	}
	if last := args[len(args)-1]; last == "start" || last == "delete" {
		return "", false
	}
	value := map[string]string{}
	for i := 1; i+1 < len(args); i += 2 {
		value[strings.TrimLeft(args[i], "-")] = args[i+1]
	}
	return value["id"], value["address"] == socket && value["namespace"] == namespace
}

// killTree kills a process and its children.
func killTree(ctx context.Context, pid int) error {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // it may be gone
	var errs []error
	for _, each := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		child, err := strconv.Atoi(each)
		if err == nil {
			err = unix.Kill(child, unix.SIGKILL)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("kill process %s: %w", each, err))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	return errors.Join(append(errs, waitEnd(ctx, pid))...)
}
