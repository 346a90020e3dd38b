package containerd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	taskapi "github.com/containerd/containerd/api/types/task"

	"periplus.dev/nodeagent/runtime"
)

// List implements [runtime.State].
func (r *Runtime) List(ctx context.Context) ([]runtime.PodState, error) {
	pods, err := r.list(ctx)
	if err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return pods, nil
}

func (r *Runtime) list(ctx context.Context) ([]runtime.PodState, error) {
	// Tasks before records: a container whose task is gone has an ending in its
	// record, which is written first.
	tasks, err := r.tasks(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := r.containers(ctx)
	if err != nil {
		return nil, err
	}
	pods := r.sandboxStates()
	for _, k := range containers {
		state, ok, err := r.stateOf(ctx, k, tasks[k.ID()])
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		p := pods[k.pod.UID]
		if p == nil {
			p = &runtime.PodState{Pod: k.pod}
			pods[k.pod.UID] = p
		}
		p.Containers = append(p.Containers, state)
	}
	out := make([]runtime.PodState, 0, len(pods))
	for _, p := range pods {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b runtime.PodState) int { return cmp.Compare(a.Pod.UID, b.Pod.UID) })
	return out, nil
}

// sandboxStates has all pods with a sandbox, alive or lost, without containers.
func (r *Runtime) sandboxStates() map[string]*runtime.PodState {
	r.mu.Lock()
	defer r.mu.Unlock()
	pods := make(map[string]*runtime.PodState, len(r.sandboxes))
	for uid, s := range r.sandboxes {
		pods[uid] = &runtime.PodState{Pod: s.Pod}
		if !s.lost {
			public := s.public()
			pods[uid].Sandbox = &public
		}
	}
	return pods
}

// stateOf says where a container stands; ok is false if it is gone.
func (r *Runtime) stateOf(ctx context.Context, k known, process *taskapi.Process) (s runtime.ContainerState, ok bool, err error) {
	if phase, sure := r.heldPhase(k.ID()); k.ending == nil && sure {
		return stateWith(k, phase), true, nil
	}
	if k.ending == nil {
		// It was started or has ended since its record was read.
		if k, ok, err = r.load(ctx, k.ID()); err != nil || !ok {
			return s, false, err
		}
	}
	if k.ending != nil {
		s = stateWith(k, runtime.Exited)
		s.ExitCode, s.OOMKilled, s.FinishedAt = k.ending.Code, k.ending.OOM, k.ending.At
		return s, true, nil
	}
	s = stateWith(k, r.phaseOf(k, process))
	if s.Phase == runtime.Exited {
		s.ExitCode, s.FinishedAt = int(process.GetExitStatus()), process.GetExitedAt().AsTime()
	}
	return s, true, nil
}

func stateWith(k known, phase runtime.Phase) runtime.ContainerState {
	return runtime.ContainerState{Container: k.public, Labels: maps.Clone(k.labels), Phase: phase}
}

// heldPhase is what this process itself knows of a container without an ending.
func (r *Runtime) heldPhase(id string) (phase runtime.Phase, sure bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase, ok := r.busy[id]; ok {
		return phase, true
	}
	if r.running[id] != nil {
		return runtime.Running, true
	}
	return "", false
}

// phaseOf judges a container that nobody here holds by its task.
func (r *Runtime) phaseOf(k known, process *taskapi.Process) runtime.Phase {
	if phase, sure := r.heldPhase(k.ID()); sure {
		return phase
	}
	if process == nil {
		if s, alive := r.sandbox(k.pod.UID); s == nil || !alive || wasStarted(s, k.ID()) {
			return runtime.Lost
		}
		return runtime.Created
	}
	switch process.GetStatus() {
	case taskapi.Status_CREATED:
		return runtime.Created
	case taskapi.Status_RUNNING, taskapi.Status_PAUSED, taskapi.Status_PAUSING:
		return runtime.Running
	case taskapi.Status_STOPPED:
		return runtime.Exited
	default:
		return runtime.Unknown
	}
}
