package history_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"periplus.dev/events"
	"periplus.dev/history"
)

// said is a fat event's object before and after, as JSON.
type said struct {
	before, after string
	changed       []string
}

const (
	owned = `"ownerReferences":[{"kind":"Namespace","name":"no"},{"kind":"%KIND","name":"%NAME","controller":true}]`
	pods  = `"spec":{"containers":[{"name":"web","image":"web:v1"}]}`
)

func controlled(kind, name, rest string) string {
	return `{"metadata":{` + strings.NewReplacer("%KIND", kind, "%NAME", name).Replace(owned) + rest + `}`
}

func replicas(n, image string) string {
	return `{"spec":{"replicas":` + n + `,"template":{"spec":{"containers":[{"name":"web","image":"` + image + `"},{"name":"log","image":"log:v1"}]}}}}`
}

// sentences has at least one case for every type and every fact.
var sentences = []struct {
	typ  events.Type
	data any
	want string
}{
	{fact("deployment", events.FactCreated), said{after: replicas("2", "web:v1")}, "created with 2 replicas of web:v1, log:v1"},
	{fact("pod", events.FactCreated), said{after: `{` + pods + `}`}, "created with web:v1"},
	{fact("configmap", events.FactCreated), said{after: `{"data":{"a":"b"}}`}, "created"},
	{fact("widget", events.FactCreated), said{after: `{"spec":{"replicas":"many","template":7}}`}, "created"},
	{fact("deployment", events.FactSpecChanged), said{changed: []string{"spec.minReadySeconds"}}, "spec changed: spec.minReadySeconds"},
	{fact("configmap", events.FactDataChanged), said{changed: []string{"data.a", "data.b", "data.c", "data.d", "data.e"}}, "content changed: data.a, data.b, data.c and 2 more"},
	{fact("pod", events.FactMetadataChanged), said{changed: []string{`metadata.labels["a.b/c"]`}}, `metadata changed: metadata.labels["a.b/c"]`},
	{fact("pod", events.FactMetadataChanged), said{}, "metadata changed"},
	{fact("pod", events.FactDeletionRequested), said{after: `{"metadata":{"deletionGracePeriodSeconds":30}}`}, "deletion requested, 30 seconds of grace"},
	{fact("deployment", events.FactDeletionRequested), said{after: `{"metadata":{"finalizers":["foregroundDeletion","x/y"]}}`},
		"deletion requested, held by foregroundDeletion, x/y"},
	{fact("pod", events.FactDeleted), said{}, "deleted"},
	{fact("pod", events.FactStatusReported), events.StatusReported{Status: map[string]string{"phase": "Running"}, Changed: []string{"status.phase"}}, "status reported: status.phase"},
	{fact("pod", events.FactFinalized), said{}, "gone: nothing held it any longer"},
	{fact("pod", events.FactCollectRequested), said{after: `{"metadata":{"deletionGracePeriodSeconds":1}}`}, "to go, because its owners are gone, 1 second of grace"},
	{fact("replicaset", events.FactCollected), said{}, "gone, because its owners are gone"},
	{fact("replicaset", events.FactOrphaned), said{}, "orphaned: an owner was deleted and left it behind"},
	{fact("deployment", events.FactDependentsGone), said{}, "no longer held by its dependents: they are dealt with"},
	{fact("pod", events.FactSweepRequested), said{}, "to go with its namespace"},
	{fact("secret", events.FactSwept), said{}, "gone with its namespace"},
	{fact("namespace", events.FactProvisioned), said{}, "provisioned: it always exists"},

	{events.ClusterInitialized, said{}, "the log begins"},
	{events.DeploymentScaled, said{before: replicas("2", "web:v1"), after: replicas("5", "web:v1"), changed: []string{"spec.replicas"}}, "scaled from 2 to 5"},
	{events.DeploymentScaled, said{after: replicas("5", "web:v1"), changed: []string{"spec.replicas"}}, "scaled to 5"},
	{events.DeploymentScaled, said{before: `{"spec":{}}`, after: replicas("0", "web:v1")}, "scaled from 1 to 0"},
	{events.DeploymentTemplateChanged, said{before: replicas("2", "web:v1"), after: replicas("2", "web:v2"),
		changed: []string{"metadata.annotations.x", "spec.template.spec.containers[0].image"}}, "template changed: image of web from web:v1 to web:v2"},
	{events.DeploymentTemplateChanged, said{before: replicas("2", "web:v1"), after: replicas("2", "web:v2"),
		changed: []string{"spec.template.spec.containers[0].env", "spec.template.spec.containers[0].image"}},
		"template changed: image of web from web:v1 to web:v2, spec.template.spec.containers[0].env"},
	{events.DeploymentTemplateChanged, said{after: replicas("2", "web:v2"), changed: []string{"spec.template.spec.containers[0].image"}},
		"template changed: spec.template.spec.containers[0].image"},
	{events.DeploymentTemplateChanged, said{}, "template changed"},
	{events.DeploymentRestarted, said{}, "restarted: all its pods are to be replaced"},
	{events.DeploymentRolledBack, said{before: replicas("2", "web:v2"), after: replicas("2", "web:v1")}, "rolled back: image of web from web:v2 to web:v1"},
	{events.DeploymentPaused, said{}, "rollout paused"},
	{events.DeploymentResumed, said{}, "rollout resumed"},
	{events.DeploymentRevisionRecorded, said{after: `{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"3"}}}`}, "revision 3 recorded"},
	{events.DeploymentRevisionRecorded, said{}, "revision unknown recorded"},
	{events.ReplicaSetScaled, said{before: replicas("1", "a"), after: replicas("2", "a")}, "scaled from 1 to 2"},
	{events.ReplicaSetTemplateChanged, said{changed: []string{"spec.template.metadata.labels.a"}}, "template changed: spec.template.metadata.labels.a"},
	{events.ReplicaSetRolledOut, said{after: controlled("Deployment", "web", `,"annotations":{"deployment.kubernetes.io/revision":"2"}`) +
		`,"spec":{"replicas":1,"template":{` + pods + `}}}`}, "made for revision 2 of deployment web with 1 replica of web:v1"},
	{events.ReplicaSetStepped, said{before: replicas("3", "a"), after: replicas("0", "a")}, "stepped from 3 to 0"},
	{events.ReplicaSetRevised, said{before: controlled("Deployment", "web", `,"annotations":{"deployment.kubernetes.io/revision":"1"}`) + "}",
		after: controlled("Deployment", "web", `,"annotations":{"deployment.kubernetes.io/revision":"3"}`) + "}"}, "serves deployment web as revision 3"},
	{events.ReplicaSetRevised, said{before: controlled("Deployment", "web", "") + "}", after: controlled("Deployment", "web", "") + "}",
		changed: []string{"spec.minReadySeconds"}}, "follows the settings of deployment web: spec.minReadySeconds"},
	{events.ReplicaSetAdopted, said{after: controlled("Deployment", "web", "") + "}"}, "adopted by deployment web"},
	{events.ReplicaSetReleased, said{before: controlled("Deployment", "web", "") + "}", after: `{}`}, "released by deployment web"},
	{events.ReplicaSetPruned, said{}, "pruned: older than the revisions that are kept"},
	{events.PodRequested, said{after: controlled("ReplicaSet", "web-7f", `,"annotations":{"periplus.dev/slot":"1"}`) + "," + pods + "}"},
		"requested for slot 1 of replicaset web-7f with web:v1"},
	{events.PodRequested, said{}, "requested for its replicaset"},
	{events.PodRetired, said{after: controlled("ReplicaSet", "web-7f", "") + "}"}, "retired: replicaset web-7f needs fewer pods"},
	{events.PodAdopted, said{after: controlled("ReplicaSet", "web-7f", "") + "}"}, "adopted by replicaset web-7f"},
	{events.PodReleased, said{after: `{}`}, "released by its owner"},
	{events.PodBound, said{after: `{"spec":{"nodeName":"n1"}}`}, "bound to n1"},
	{events.NodeCordoned, said{}, "cordoned: it takes no new pods"},
	{events.NodeUncordoned, said{}, "uncordoned: it takes new pods again"},
	{events.NodeTainted, said{after: `{"spec":{"taints":[{"key":"gpu","value":"yes","effect":"NoSchedule"},{"key":"old","effect":"NoExecute"}]}}`},
		"taints changed to gpu=yes:NoSchedule, old:NoExecute"},
	{events.NodeTainted, said{after: `{}`}, "taints removed"},
	{events.NamespaceEmptied, said{}, "gone, as is the last of its content"},

	{events.PodMatured, events.Matured{}, "available: it has been ready for long enough"},
	{events.PodScheduled, events.Scheduled{Node: "n1", Candidates: []events.Candidate{
		{Node: "n1", Fits: true, Score: 50}, {Node: "n2", Reason: "Insufficient cpu"}, {Node: "n3", Fits: true}}}, "assigned to n1 (3 candidates: n2 Insufficient cpu)"},
	{events.PodScheduled, events.Scheduled{Node: "n1", Candidates: []events.Candidate{{Node: "n1", Fits: true}}}, "assigned to n1 (1 candidate)"},
	{events.PodScheduled, events.Scheduled{Node: "n1", Candidates: []events.Candidate{
		{Node: "a", Reason: "x"}, {Node: "b", Reason: "x"}, {Node: "c"}, {Node: "d", Reason: "x"}, {Node: "e", Reason: "x"}}},
		"assigned to n1 (5 candidates: a x, b x, c unknown, and 2 more)"},
	{events.PodUnschedulable, events.Unschedulable{Message: "0/3 nodes are available: 3 Insufficient cpu."}, "cannot be scheduled: 0/3 nodes are available: 3 Insufficient cpu."},
	{events.PodSandboxCreated, events.SandboxCreated{PodIPs: []string{"10.244.0.2", "fd00::2"}}, "sandbox created with address 10.244.0.2, fd00::2"},
	{events.PodSandboxCreated, events.SandboxCreated{}, "sandbox created without an address"},
	{events.PodRejected, events.Rejected{Reason: "OutOfcpu", Message: "Node didn't have enough resource: cpu"}, "rejected by its node: OutOfcpu: Node didn't have enough resource: cpu"},
	{events.PodStopping, events.Stopping{GraceSeconds: 1}, "stopping: its containers have 1 second to end"},
	{events.PodStopped, events.Stopped{}, "stopped: nothing of it is left on its node"},
	{events.ImagePullStarted, events.PullStarted{Container: "web", Image: "web:v1"}, "pulling image web:v1 for container web"},
	{events.ImagePulled, events.Pulled{Container: "web", Image: "web:v1", Bytes: 12_345_678, Millis: 1234}, "image web:v1 for container web pulled in 1.234s (12.3 MB)"},
	{events.ImagePulled, events.Pulled{Container: "web", Image: "web:v1"}, "image web:v1 for container web pulled"},
	{events.ImagePulled, events.Pulled{Container: "web", Image: "web:v1", AlreadyPresent: true}, "image web:v1 for container web is already there"},
	{events.ImagePullFailed, events.PullFailed{Container: "web", Image: "nope", Reason: "ErrImagePull", Message: "not\nfound", RetryAt: noon},
		"image nope for container web could not be pulled: ErrImagePull: not found, next try at 12:00:00"},
	{events.ImagePullFailed, events.PullFailed{Container: "web", Image: "no pe", Reason: "InvalidImageName"},
		"image no pe for container web could not be pulled: InvalidImageName"},
	{events.ContainerStarted, events.Started{Container: "web"}, "container web started"},
	{events.ContainerStarted, events.Started{Container: "web", Attempt: 2}, "container web started again, restart 2"},
	{events.ContainerStartFailed, events.StartFailed{Container: "web", Message: "no such file"}, "container web could not start: no such file"},
	{events.ContainerExited, events.Exited{Container: "web", ExitCode: 137, Reason: "OOMKilled"}, "container web exited with 137 (OOMKilled)"},
	{events.ContainerExited, events.Exited{Container: "web", Message: "bye"}, "container web exited with 0: bye"},
	{events.ContainerBackingOff, events.BackingOff{Container: "web", Attempt: 3, Until: noon}, "container web waits until 12:00:00 for restart 3"},
	{events.ContainerReadyChanged, events.ReadyChanged{Container: "web", Ready: true}, "container web is ready"},
	{events.ContainerReadyChanged, events.ReadyChanged{Container: "web", Message: "connection refused"}, "container web is not ready: connection refused"},
	{events.NodeRegistered, events.Registered{Capacity: map[string]string{"cpu": "2", "memory": "4Gi", "pods": "110"}}, "registered with cpu 2, memory 4Gi, pods 110"},
	{events.NodeRegistered, events.Registered{}, "registered"},
	{events.NodeReady, events.Readiness{Reason: "AgentReady", Message: "the node takes pods"}, "ready: AgentReady: the node takes pods"},
	{events.NodeReady, events.Readiness{}, "ready: unknown"},

	{events.ContainerExited, "not an object", "exited (what it says cannot be read)"},
	{events.DeploymentScaled, 7, "scaled (what it says cannot be read)"},
	{"dev.periplus.pod.day-dreamt.v2", events.State{Changed: []string{"spec.a"}}, "day dreamt: spec.a"},
	{"strange", events.State{}, ""},
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func fact(kind, f string) events.Type { return events.TypeOf(kind, f) }

func TestSentence(t *testing.T) {
	for _, c := range sentences {
		r, before := recorded(c.typ, c.data)
		if got := history.Sentence(r, before); got != c.want {
			t.Errorf("%s %+v\ngot  %q\nwant %q", c.typ, c.data, got, c.want)
		}
	}
}

// recorded is the event of a case, and the one before it if the case has one.
func recorded(typ events.Type, data any) (r, before events.Recorded) {
	s, ok := data.(said)
	if !ok {
		return event(9, typ, web, 0, data), before
	}
	state := events.State{UID: "u", Object: json.RawMessage(s.after), Changed: s.changed}
	if s.before != "" {
		state.Previous = 4
		before = event(4, fact("deployment", events.FactCreated), web, 0, events.State{Object: json.RawMessage(s.before)})
	}
	return event(9, typ, web, 0, state), before
}

func TestSentenceForEveryType(t *testing.T) {
	told := map[string]bool{}
	for _, c := range sentences {
		told[string(c.typ)] = true
		told[c.typ.Fact()] = true
	}
	for _, typ := range events.Types() {
		if !told[string(typ)] {
			t.Errorf("%s has no case in the table", typ)
		}
	}
	for _, f := range events.Facts() {
		if !told[f] {
			t.Errorf("fact %s has no case in the table", f)
		}
	}
}

// TestSentenceOfAnotherBefore holds that an event that is not the previous one is
// not taken for it.
func TestSentenceOfAnotherBefore(t *testing.T) {
	before := event(4, events.DeploymentScaled, web, 0, events.State{Object: json.RawMessage(replicas("2", "web:v1"))})
	r := event(9, events.DeploymentScaled, web, 0, events.State{Object: json.RawMessage(replicas("5", "web:v1")), Previous: 6})
	if got := history.Sentence(r, before); got != "scaled to 5" {
		t.Errorf("got %q", got)
	}
}

func TestFailed(t *testing.T) {
	failures := []events.Type{events.PodUnschedulable, events.PodRejected, events.ImagePullFailed, events.ContainerStartFailed, events.ContainerBackingOff}
	for _, typ := range events.Types() {
		want := slices.Contains(failures, typ)
		if got := history.Failed(event(9, typ, web, 0, map[string]any{})); got != want {
			t.Errorf("%s: got %v", typ, got)
		}
	}
	for _, c := range []struct {
		data any
		want bool
	}{{events.Exited{}, false}, {events.Exited{ExitCode: 1}, true}, {events.Exited{ExitCode: -1}, true}, {"?", true}} {
		if got := history.Failed(event(9, events.ContainerExited, webPod, 0, c.data)); got != c.want {
			t.Errorf("exit %+v: got %v", c.data, got)
		}
	}
}

func FuzzSentence(f *testing.F) {
	for _, c := range sentences {
		r, before := recorded(c.typ, c.data)
		f.Add(string(c.typ), []byte(r.Data), []byte(before.Data))
	}
	f.Add("dev.periplus.container.exited.v1", []byte(`{"container":"\u001b[2J","message":"a\u009bb\u2028c"}`), []byte(nil))
	f.Fuzz(func(t *testing.T, typ string, data, old []byte) {
		r := events.Recorded{Seq: 9, Event: events.Event{Type: events.Type(typ), Data: data}}
		before := events.Recorded{Seq: 4, Event: events.Event{Data: old}}
		told := history.Tell(r, before)
		if !utf8.ValidString(told.Sentence) || strings.ContainsFunc(told.Sentence, unicode.IsControl) {
			t.Errorf("%q is no line of text", told.Sentence)
		}
		if told.Changed == nil || !slices.IsSorted(told.Changed) {
			t.Errorf("changed %q", told.Changed)
		}
		if _, err := json.Marshal(told); err != nil {
			t.Error(err)
		}
	})
}
