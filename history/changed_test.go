package history_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/history"
	"periplus.dev/projections"
)

func TestChanged(t *testing.T) {
	inWeb := func(fields ...string) []string {
		for i, f := range fields {
			fields[i] = "status.containerStatuses[web]." + f
		}
		return fields
	}
	want := map[events.Type][]string{
		events.PodScheduled:     {"spec.nodeName", "status.conditions[PodScheduled]"},
		events.PodUnschedulable: {"status.conditions[PodScheduled]"},
		events.PodMatured:       {},
		events.PodSandboxCreated: {"status.conditions[PodReadyToStartContainers]", "status.hostIP", "status.hostIPs",
			"status.podIP", "status.podIPs", "status.startTime"},
		events.PodRejected:           {"status.message", "status.phase", "status.reason"},
		events.PodStopping:           {},
		events.PodStopped:            {"status.conditions[PodReadyToStartContainers]", "status.conditions[Ready]"},
		events.ImagePullStarted:      {},
		events.ImagePulled:           inWeb("state"),
		events.ImagePullFailed:       inWeb("state"),
		events.ContainerStarted:      inWeb("containerID", "image", "imageID", "ready", "restartCount", "started", "state"),
		events.ContainerStartFailed:  inWeb("lastState", "ready", "restartCount", "started", "state"),
		events.ContainerExited:       inWeb("ready", "started", "state"),
		events.ContainerBackingOff:   inWeb("lastState", "state"),
		events.ContainerReadyChanged: inWeb("ready"),
		events.NodeRegistered: {"metadata.labels", "spec.podCIDR", "status.addresses", "status.allocatable",
			"status.capacity", "status.nodeInfo"},
		events.NodeReady: {"status.conditions[Ready]"},
	}
	for _, typ := range events.Types() {
		if spec, _ := events.Lookup(typ); spec.Fat {
			continue
		}
		paths, ok := want[typ]
		if !ok {
			t.Errorf("%s: what does it change?", typ)
			continue
		}
		got := history.Changed(event(9, typ, webPod, 1, map[string]string{"uid": "u", "container": "web"}))
		if got == nil || !slices.Equal(got, paths) || !slices.IsSorted(got) {
			t.Errorf("%s: got %q, want %q", typ, got, paths)
		}
	}
}

func TestChangedOfFatEvents(t *testing.T) {
	for name, c := range map[string]struct {
		typ  events.Type
		data any
		want []string
	}{
		"created":         {events.TypeOf("pod", events.FactCreated), events.State{UID: "u"}, []string{}},
		"changed":         {events.DeploymentScaled, events.State{Changed: []string{"spec.replicas", "metadata.labels.a"}}, []string{"metadata.labels.a", "spec.replicas"}},
		"reported status": {events.TypeOf("pod", events.FactStatusReported), events.StatusReported{Changed: []string{"status.phase"}}, []string{"status.phase"}},
		"not an object":   {events.DeploymentScaled, "text", []string{}},
		"of another type": {events.DeploymentScaled, map[string]any{"changed": 7}, []string{}},
	} {
		if got := history.Changed(event(9, c.typ, webPod, 1, c.data)); got == nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestChangedIsTrue folds a pod's life and a node's and compares, fact by fact,
// the paths that are told with those that really differ.
func TestChangedIsTrue(t *testing.T) {
	at := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: webPod.Name, Namespace: webPod.Namespace, UID: "u"},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "web", Image: "web:v1"}}},
	}
	w := projections.Empty()
	seq := uint64(0)
	next := func(typ events.Type, k events.Key, data any) (before, after json.RawMessage, r events.Recorded) {
		seq++
		r = event(seq, typ, k, 1, data)
		r.Time = at.Add(time.Duration(seq) * time.Second)
		before = value(t, w, k)
		w, _ = w.Fold(r)
		return before, value(t, w, k), r
	}
	p := projections.Created(webPod, events.PodRequested, events.Ref{Seq: 1}, pod)
	next(p.Type, webPod, p.Data)
	next(events.NodeRegistered, n1, events.Registered{UID: "n", Labels: map[string]string{"a": "b"}})
	for _, c := range []struct {
		typ  events.Type
		key  events.Key
		data any
		same []string // paths that this fact would change, had it come at another time
	}{
		{events.NodeReady, n1, events.Readiness{Reason: "AgentReady"}, nil},
		{events.PodUnschedulable, webPod, events.Unschedulable{UID: "u", Message: "no"}, nil},
		{events.PodScheduled, webPod, events.Scheduled{UID: "u", Node: "n1"}, nil},
		{events.PodSandboxCreated, webPod, events.SandboxCreated{UID: "u", PodIPs: []string{"10.0.0.2"}, HostIPs: []string{"10.0.0.1"}}, nil},
		{events.ImagePullStarted, webPod, events.PullStarted{UID: "u", Container: "web", Image: "web:v1"}, nil},
		{events.ImagePullFailed, webPod, events.PullFailed{UID: "u", Container: "web", Image: "web:v1", Reason: "ErrImagePull", Message: "no"}, nil},
		{events.ImagePulled, webPod, events.Pulled{UID: "u", Container: "web", Image: "web:v1"}, nil},
		{events.ContainerStarted, webPod, events.Started{UID: "u", Container: "web", ID: "c0", Image: "example.org/web:v1", ImageID: "x", Ready: true, At: at},
			[]string{"status.containerStatuses[web].restartCount"}},
		{events.ContainerExited, webPod, events.Exited{UID: "u", Container: "web", ID: "c0", ExitCode: 1, StartedAt: at, FinishedAt: at}, nil},
		{events.ContainerBackingOff, webPod, events.BackingOff{UID: "u", Container: "web", Message: "wait"}, nil},
		{events.ContainerStartFailed, webPod, events.StartFailed{UID: "u", Container: "web", Attempt: 1, Reason: "StartError", ExitCode: 128, At: at, RetryAt: at.Add(1)},
			[]string{"status.containerStatuses[web].ready", "status.containerStatuses[web].started"}},
		{events.ContainerStarted, webPod, events.Started{UID: "u", Container: "web", ID: "c2", Attempt: 2, Image: "example.org/web:v2", ImageID: "y", At: at}, []string{"status.containerStatuses[web].ready"}},
		{events.ContainerReadyChanged, webPod, events.ReadyChanged{UID: "u", Container: "web", Ready: true}, nil},
		{events.PodMatured, webPod, events.Matured{UID: "u"}, nil},
		{events.PodStopping, webPod, events.Stopping{UID: "u"}, nil},
		{events.PodStopped, webPod, events.Stopped{UID: "u"}, nil},
		{events.PodRejected, webPod, events.Rejected{UID: "u", Reason: "NodeAffinity", Message: "no"}, nil},
	} {
		before, after, r := next(c.typ, c.key, c.data)
		differs := named(t, before, after)
		for _, path := range history.Changed(r) {
			if !slices.Contains(c.same, path) && !slices.ContainsFunc(differs, func(d string) bool {
				return d == path || strings.HasPrefix(d, path+".") || strings.HasPrefix(path, d+".")
			}) {
				t.Errorf("%s tells of %s, but what differs is %q", c.typ, path, differs)
			}
		}
	}
}

func value(t *testing.T, w *projections.World, k events.Key) json.RawMessage {
	t.Helper()
	o, ok := w.Get(k)
	if !ok {
		return nil
	}
	raw, err := json.Marshal(o.Value())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var typed = regexp.MustCompile(`^status\.(conditions|containerStatuses)`)

// named lists the paths that differ, with conditions and containers by name.
func named(t *testing.T, before, after json.RawMessage) []string {
	t.Helper()
	var out []string
	for _, p := range events.Paths(before, after) {
		if !typed.MatchString(p) {
			out = append(out, p)
		}
	}
	was, is := parts(t, before), parts(t, after)
	for name, part := range is {
		if old, ok := was[name]; !ok {
			out = append(out, name)
		} else {
			for _, p := range events.Paths(old, part) {
				out = append(out, strings.TrimSuffix(name+"."+p, "."))
			}
		}
	}
	return out
}

func parts(t *testing.T, object json.RawMessage) map[string]json.RawMessage {
	t.Helper()
	var o struct {
		Status struct {
			Conditions        []json.RawMessage `json:"conditions"`
			ContainerStatuses []json.RawMessage `json:"containerStatuses"`
		} `json:"status"`
	}
	if len(object) > 0 {
		if err := json.Unmarshal(object, &o); err != nil {
			t.Fatal(err)
		}
	}
	out := map[string]json.RawMessage{}
	for _, raw := range slices.Concat(o.Status.Conditions, o.Status.ContainerStatuses) {
		var head struct {
			Type string `json:"type"`
			Name string `json:"name"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		if head.Type != "" {
			out["status.conditions["+head.Type+"]"] = raw
		} else {
			out["status.containerStatuses["+head.Name+"]"] = raw
		}
	}
	return out
}
