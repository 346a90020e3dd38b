package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"periplus.dev/nodeagent/network"
)

// restore finds what a former process has left and goes on with it.
func (r *Runtime) restore(ctx context.Context) error {
	for _, dir := range []string{r.config.sandboxDir(), r.config.fifoDir(), r.config.logDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make folder: %w", err)
		}
	}
	entries, err := os.ReadDir(r.config.sandboxDir())
	if err != nil {
		return fmt.Errorf("read sandboxes: %w", err)
	}
	for _, e := range entries {
		if err := r.restoreSandbox(e.Name()); err != nil {
			return err
		}
	}
	if err := r.network.Prune(); err != nil {
		return err
	}
	if err := r.endStrays(ctx); err != nil {
		return err
	}
	return r.resync(ctx)
}

// restoreSandbox takes one sandbox up. One that was never completed is removed.
func (r *Runtime) restoreSandbox(uid string) error {
	s := &sandbox{dir: filepath.Join(r.config.sandboxDir(), uid)}
	content, err := os.ReadFile(s.file(recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		s.Pod.UID = uid
		r.log.Info("sandbox was not completed; removing it", zap.String("uid", uid))
		return r.dropSandbox(s)
	}
	if err != nil {
		return fmt.Errorf("read sandbox record: %w", err)
	}
	if err := json.Unmarshal(content, &s.record); err != nil || s.Pod.UID != uid {
		return fmt.Errorf("read sandbox record %s: %w", s.file(recordFile), errors.Join(err, s.Pod.Check()))
	}
	s.lost = !network.Pinned(s.namespaces())
	if !s.lost && !s.HostNetwork && !r.network.Adopt(uid, s.Address) {
		return fmt.Errorf("sandbox of pod %s/%s has address %s, which is not this node's to give",
			s.Pod.Namespace, s.Pod.Name, s.Address)
	}
	r.sandboxes[uid] = s
	return nil
}

// resync attaches to the containers that have a task and nobody yet who waits for
// its end. It is safe to repeat.
func (r *Runtime) resync(ctx context.Context) error {
	tasks, err := r.tasks(ctx)
	if err != nil {
		return err
	}
	containers, err := r.containers(ctx)
	if err != nil {
		return err
	}
	for _, k := range containers {
		if tasks[k.ID()] == nil || k.ending != nil || r.isRunning(k.ID()) {
			continue
		}
		if err := r.attach(k); err != nil {
			return err
		}
	}
	return nil
}
