package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	taskapi "github.com/containerd/containerd/api/types/task"
	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"periplus.dev/nodeagent/runtime"
)

// Labels of a container in containerd: all that has to be known of it later.
const (
	labelUID       = "periplus.dev/pod.uid"
	labelNamespace = "periplus.dev/pod.namespace"
	labelPod       = "periplus.dev/pod.name"
	labelNode      = "periplus.dev/node"
	labelName      = "periplus.dev/container"
	labelAttempt   = "periplus.dev/attempt"
	labelImageID   = "periplus.dev/image"
	labelExit      = "periplus.dev/exit"   // an ending as JSON; absent until the container has exited
	labelOwn       = "periplus.dev/label/" // before the caller's own
)

// known is a container as containerd's records have it.
type known struct {
	client.Container

	pod    runtime.Pod
	public runtime.Container
	labels map[string]string // the caller's
	ending *ending           // nil: it has not exited, as far as the records know
}

// ending is how a container ended.
type ending struct {
	Code int       `json:"code"`
	OOM  bool      `json:"oom,omitempty"`
	At   time.Time `json:"at"`
}

func labelsOf(spec runtime.ContainerSpec, imageID string) map[string]string {
	labels := map[string]string{
		labelUID: spec.Pod.UID, labelNamespace: spec.Pod.Namespace, labelPod: spec.Pod.Name, labelNode: spec.Pod.Node,
		labelName: spec.Name, labelAttempt: strconv.Itoa(spec.Attempt), labelImageID: imageID,
	}
	for name, value := range spec.Labels {
		labels[labelOwn+name] = value
	}
	return labels
}

// read takes a container's record apart. ok is false for one that is not ours.
func read(ctx context.Context, c client.Container) (k known, ok bool, err error) {
	info, err := c.Info(ctx, client.WithoutRefreshedMetadata)
	if err != nil {
		return known{}, false, fmt.Errorf("read container: %w", asTemporary(err))
	}
	l := info.Labels
	attempt, err := strconv.Atoi(l[labelAttempt])
	if l[labelUID] == "" || err != nil {
		return known{}, false, nil //nolint:nilerr // whoever made it, it was not us
	}
	k = known{
		Container: c, labels: map[string]string{},
		pod: runtime.Pod{UID: l[labelUID], Namespace: l[labelNamespace], Name: l[labelPod], Node: l[labelNode]},
		public: runtime.Container{
			ID: info.ID, Name: l[labelName], Attempt: attempt, ImageID: l[labelImageID], StartedAt: info.CreatedAt.UTC(),
		},
	}
	for name, value := range l {
		if own, ok := strings.CutPrefix(name, labelOwn); ok {
			k.labels[own] = value
		}
	}
	if text, ok := l[labelExit]; ok {
		k.ending = &ending{}
		if err := json.Unmarshal([]byte(text), k.ending); err != nil {
			return known{}, false, fmt.Errorf("read container %s: label %s: %w", info.ID, labelExit, err)
		}
	}
	return k, true, nil
}

// load reads one container's record; ok is false if there is none.
func (r *Runtime) load(ctx context.Context, id string) (k known, ok bool, err error) {
	c, err := r.client.LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return known{}, false, nil
	}
	if err != nil {
		return known{}, false, fmt.Errorf("load container: %w", asTemporary(err))
	}
	return read(ctx, c)
}

// containers reads all records, or those that the filters let through.
func (r *Runtime) containers(ctx context.Context, filters ...string) ([]known, error) {
	all, err := r.client.Containers(ctx, filters...)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", asTemporary(err))
	}
	var out []known
	for _, c := range all {
		k, ok, err := read(ctx, c)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b known) int {
		return cmp.Or(cmp.Compare(a.pod.UID, b.pod.UID), cmp.Compare(a.public.Name, b.public.Name), cmp.Compare(a.public.Attempt, b.public.Attempt))
	})
	return out, nil
}

func (r *Runtime) containersOf(ctx context.Context, uid string) ([]known, error) {
	return r.containers(ctx, fmt.Sprintf("labels.%q==%q", labelUID, uid))
}

// tasks asks what the processes of all containers are doing, by container id.
func (r *Runtime) tasks(ctx context.Context) (map[string]*taskapi.Process, error) {
	list, err := r.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list tasks: %w: %w", runtime.ErrTemporary, err) // there is no other way to fail
	}
	out := make(map[string]*taskapi.Process, len(list.GetTasks()))
	for _, p := range list.GetTasks() {
		out[p.GetID()] = p
	}
	return out, nil
}
