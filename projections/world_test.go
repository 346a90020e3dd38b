package projections_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// voyage folds facts one after the other, each twice, as a log may deliver them.
type voyage struct {
	t     *testing.T
	world *projections.World
	log   []events.Recorded
	last  []projections.Change
}

func newVoyage(t *testing.T) *voyage {
	t.Helper()
	return &voyage{t: t, world: projections.Empty()}
}

// record folds a proposal one second after the last.
func (v *voyage) record(p events.Proposal) events.Ref {
	v.t.Helper()
	seq := v.world.Seq() + 1
	r := events.Recorded{Event: p.Event, Seq: seq, Stored: start.Add(time.Duration(seq) * time.Second)}
	r.ID, r.Time = fmt.Sprintf("id-%d", seq), r.Stored
	if r.Source == "" {
		r.Source = events.DoorSource
	}
	next, changes := v.world.Fold(r)
	again, twice := next.Fold(r)
	if again != next || len(twice) != 0 {
		v.t.Fatalf("%s at %d changed something when it came twice", r.Type, seq)
	}
	if next.Skipped() != v.world.Skipped() {
		v.t.Fatalf("%s at %d was skipped: %s", r.Type, seq, r.Data)
	}
	v.world, v.last = next, changes
	v.log = append(v.log, r)
	return r.Ref()
}

// observe records a fact of the node n1 about an object.
func (v *voyage) observe(k events.Key, t events.Type, data any) events.Ref {
	v.t.Helper()
	p := events.New(k.Observed("n1"), 0, t, events.Ref{Seq: 1, ID: "c"}, data)
	p.Source = events.NodeSource("n1")
	return v.record(p)
}

func (v *voyage) object(k events.Key) *projections.Object {
	v.t.Helper()
	o, ok := v.world.Get(k)
	if !ok {
		v.t.Fatalf("%s is not there", k)
	}
	return o
}

func podKey(name string) events.Key {
	return events.Key{Resource: "pods", Namespace: "shop", Name: name}
}

func newPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(start)},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "main", Image: "web:1"}},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func (v *voyage) create(k events.Key, obj runtime.Object) events.Ref {
	v.t.Helper()
	kind := strings.ToLower(projections.KindOf(k))
	return v.record(projections.Created(k, events.TypeOf(kind, events.FactCreated), events.Ref{}, obj))
}

// schedule records that the scheduler chose n1.
func (v *voyage) schedule(k events.Key) {
	v.t.Helper()
	o := v.object(k)
	p := events.New(k.Wanted(), o.Desired.Seq, events.PodScheduled, o.Desired, events.Scheduled{UID: string(o.UID()), Node: "n1"})
	p.Source = events.ReconcilerSource("scheduler")
	v.record(p)
}

const mainContainer = "main"

func startedFact(uid string, attempt int) events.Started {
	return events.Started{UID: uid, Container: mainContainer, ID: fmt.Sprintf("c%d", attempt), Attempt: attempt, Image: "web:1", ImageID: "web@sha256:1", At: start, Ready: true}
}

func exitedFact(uid string, attempt, code int, reason string) events.Exited {
	return events.Exited{UID: uid, Container: mainContainer, ID: fmt.Sprintf("c%d", attempt), Attempt: attempt, ExitCode: code, Reason: reason, StartedAt: start, FinishedAt: start.Add(time.Minute)}
}

// TestPodStatus shows what kubectl shows after each story of a pod.
func TestPodStatus(t *testing.T) {
	const uid = "uid-p"
	type fact struct {
		t    events.Type
		data any
	}
	sandbox := fact{events.PodSandboxCreated, events.SandboxCreated{UID: uid, PodIPs: []string{"10.1.0.5"}, HostIPs: []string{"10.0.0.1"}}}
	tests := []struct {
		name   string
		policy corev1.RestartPolicy
		facts  []fact
		want   string // phase, ready, state of the container, restarts
	}{
		{"bound, nothing happened yet", corev1.RestartPolicyAlways, nil, "Pending ready=false waiting=ContainerCreating restarts=0"},
		{"image cannot be pulled", corev1.RestartPolicyAlways, []fact{sandbox,
			{events.ImagePullFailed, events.PullFailed{UID: uid, Container: mainContainer, Image: "web:1", Reason: "ErrImagePull", Message: "no"}}},
			"Pending ready=false waiting=ErrImagePull restarts=0"},
		{"image cannot be pulled again", corev1.RestartPolicyAlways, []fact{sandbox,
			{events.ImagePullFailed, events.PullFailed{UID: uid, Container: mainContainer, Image: "web:1", Reason: "ErrImagePull", Message: "no"}},
			{events.ImagePullFailed, events.PullFailed{UID: uid, Container: mainContainer, Image: "web:1", Reason: "ErrImagePull", Message: "no"}}},
			"Pending ready=false waiting=ImagePullBackOff restarts=0"},
		{"image came after all", corev1.RestartPolicyAlways, []fact{sandbox,
			{events.ImagePullFailed, events.PullFailed{UID: uid, Container: mainContainer, Image: "web:1", Reason: "ErrImagePull", Message: "no"}},
			{events.ImagePulled, events.Pulled{UID: uid, Container: mainContainer, Image: "web:1"}}},
			"Pending ready=false waiting=ContainerCreating restarts=0"},
		{"running", corev1.RestartPolicyAlways, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)}},
			"Running ready=true running restarts=0"},
		{"not ready by its probe", corev1.RestartPolicyAlways, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)},
			{events.ContainerReadyChanged, events.ReadyChanged{UID: uid, Container: mainContainer}}},
			"Running ready=false running restarts=0"},
		{"crashed, will be restarted", corev1.RestartPolicyAlways, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)},
			{events.ContainerExited, exitedFact(uid, 0, 137, "OOMKilled")}},
			"Running ready=false terminated=OOMKilled/137 restarts=0"},
		{"restarted", corev1.RestartPolicyAlways, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)},
			{events.ContainerExited, exitedFact(uid, 0, 1, "Error")}, {events.ContainerStarted, startedFact(uid, 1)}},
			"Running ready=true running restarts=1 last=Error/1"},
		{"crash loop", corev1.RestartPolicyAlways, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 1)},
			{events.ContainerExited, exitedFact(uid, 1, 1, "Error")},
			{events.ContainerBackingOff, events.BackingOff{UID: uid, Container: mainContainer, Attempt: 2, Message: "back-off 10s"}}},
			"Running ready=false waiting=CrashLoopBackOff restarts=1 last=Error/1"},
		{"ran to its end", corev1.RestartPolicyNever, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)},
			{events.ContainerExited, exitedFact(uid, 0, 0, "Completed")}},
			"Succeeded ready=false terminated=Completed/0 restarts=0"},
		{"failed for good", corev1.RestartPolicyNever, []fact{sandbox, {events.ContainerStarted, startedFact(uid, 0)},
			{events.ContainerExited, exitedFact(uid, 0, 3, "Error")}},
			"Failed ready=false terminated=Error/3 restarts=0"},
		{"command does not exist, tried again", corev1.RestartPolicyAlways, []fact{sandbox,
			{events.ContainerStartFailed, events.StartFailed{UID: uid, Container: mainContainer, Reason: "RunContainerError", Message: "no such file", ExitCode: 128, At: start, RetryAt: start.Add(time.Second)}}},
			"Running ready=false waiting=RunContainerError restarts=0 last=StartError/128"},
		{"command does not exist, given up", corev1.RestartPolicyNever, []fact{sandbox,
			{events.ContainerStartFailed, events.StartFailed{UID: uid, Container: mainContainer, Reason: "RunContainerError", Message: "no such file", ExitCode: 128, At: start}}},
			"Failed ready=false terminated=StartError/128 restarts=0"},
		{"rejected by its node", corev1.RestartPolicyAlways, []fact{{events.PodRejected, events.Rejected{UID: uid, Reason: "UnsupportedVolume", Message: "volume x"}}},
			"Failed ready=false waiting=ContainerCreating restarts=0"},
		{"facts about an earlier pod of that name", corev1.RestartPolicyAlways, []fact{{events.ContainerStarted, startedFact("other", 0)}},
			"Pending ready=false waiting=ContainerCreating restarts=0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := newVoyage(t)
			v.create(podKey("p"), newPod("p", func(p *corev1.Pod) { p.Spec.RestartPolicy = tt.policy }))
			v.schedule(podKey("p"))
			for _, f := range tt.facts {
				v.observe(podKey("p"), f.t, f.data)
			}
			if got := describe(v.object(podKey("p"))); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func describe(o *projections.Object) string {
	pod := projections.As[*corev1.Pod](o)
	ready, _ := projections.PodReady(o)
	s := fmt.Sprintf("%s ready=%v ", pod.Status.Phase, ready)
	c := pod.Status.ContainerStatuses[0]
	switch {
	case c.State.Running != nil:
		s += "running"
	case c.State.Terminated != nil:
		s += fmt.Sprintf("terminated=%s/%d", c.State.Terminated.Reason, c.State.Terminated.ExitCode)
	case c.State.Waiting != nil:
		s += "waiting=" + c.State.Waiting.Reason
	}
	s += fmt.Sprintf(" restarts=%d", c.RestartCount)
	if last := c.LastTerminationState.Terminated; last != nil {
		s += fmt.Sprintf(" last=%s/%d", last.Reason, last.ExitCode)
	}
	return s
}

// TestInitContainers shows a pod that waits for an init container and a sidecar
// before its main container.
func TestInitContainers(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	v := newVoyage(t)
	k := podKey("p")
	v.create(k, newPod("p", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "web:1"}, {Name: "proxy", Image: "web:1", RestartPolicy: &always}}
	}))
	v.schedule(k)
	v.observe(k, events.PodSandboxCreated, events.SandboxCreated{UID: "uid-p", PodIPs: []string{"10.1.0.5"}})
	fact := func(t events.Type, container string) {
		started, exited := startedFact("uid-p", 0), exitedFact("uid-p", 0, 0, "Completed")
		started.Container, exited.Container = container, container
		if t == events.ContainerStarted {
			v.observe(k, t, started)
		} else {
			v.observe(k, t, exited)
		}
	}
	check := func(phase corev1.PodPhase, initialized, ready bool) {
		t.Helper()
		pod := projections.As[*corev1.Pod](v.object(k))
		isReady, _ := projections.PodReady(v.object(k))
		isInit := strings.Contains(conditions(v.object(k)), "Initialized=True")
		if pod.Status.Phase != phase || isInit != initialized || isReady != ready {
			t.Errorf("%s initialized=%v ready=%v, want %s %v %v", pod.Status.Phase, isInit, isReady, phase, initialized, ready)
		}
	}
	check(corev1.PodPending, false, false)
	fact(events.ContainerStarted, "prepare")
	fact(events.ContainerExited, "prepare")
	check(corev1.PodPending, false, false)
	fact(events.ContainerStarted, "proxy")
	check(corev1.PodPending, true, false)
	fact(events.ContainerStarted, mainContainer)
	check(corev1.PodRunning, true, true)
	fact(events.ContainerExited, "proxy")
	check(corev1.PodRunning, true, false)
}

func TestPodConditions(t *testing.T) {
	v := newVoyage(t)
	k := podKey("p")
	v.create(k, newPod("p", nil))
	o := v.object(k)
	p := events.New(k.Observed(""), 0, events.PodUnschedulable, o.Desired, events.Unschedulable{UID: "uid-p", Message: "0/1 nodes are available"})
	p.Source = events.ReconcilerSource("scheduler")
	v.record(p)
	if got := projections.PodUnschedulable(v.object(k)); got != "0/1 nodes are available" {
		t.Errorf("unschedulable = %q", got)
	}
	if got := conditions(v.object(k)); got != "PodScheduled=False(Unschedulable)" {
		t.Errorf("conditions = %s", got)
	}
	v.schedule(k)
	v.observe(k, events.PodSandboxCreated, events.SandboxCreated{UID: "uid-p", PodIPs: []string{"10.1.0.5"}})
	if got, want := conditions(v.object(k)), "PodReadyToStartContainers=True() Initialized=True() Ready=False(ContainersNotReady) ContainersReady=False(ContainersNotReady) PodScheduled=True()"; got != want {
		t.Errorf("conditions = %s, want %s", got, want)
	}
	if projections.PodUnschedulable(v.object(k)) != "" {
		t.Error("still unschedulable after it was scheduled")
	}
}

func conditions(o *projections.Object) string {
	var out []string
	for _, c := range projections.As[*corev1.Pod](o).Status.Conditions {
		out = append(out, fmt.Sprintf("%s=%s(%s)", c.Type, c.Status, c.Reason))
	}
	return strings.Join(out, " ")
}

// TestOwnersFollow shows that one fact about a pod changes its ReplicaSet and
// its Deployment at the same sequence.
func TestOwnersFollow(t *testing.T) {
	v := newVoyage(t)
	two := int32(2)
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: mainContainer, Image: "web:1"}}},
	}
	deployKey := events.Key{Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}
	setKey := events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: "web-1"}
	v.create(deployKey, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-d", Generation: 1},
		Spec:       appsv1.DeploymentSpec{Replicas: &two, Template: template},
	})
	hashed := *template.DeepCopy()
	hashed.Labels["pod-template-hash"] = "1"
	v.create(setKey, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", UID: "uid-s", Generation: 1, OwnerReferences: owner("Deployment", "web", "uid-d")},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &two, Template: hashed},
	})
	for slot := range 2 {
		name := fmt.Sprintf("web-1-%d", slot)
		p := projections.Created(podKey(name), events.PodRequested, v.object(setKey).Desired, newPod(name, func(p *corev1.Pod) {
			p.OwnerReferences = owner("ReplicaSet", "web-1", "uid-s")
			p.Labels = hashed.Labels
			p.Annotations = map[string]string{projections.SlotAnnotation: fmt.Sprint(slot)}
		}))
		p.Source = events.ReconcilerSource("replicas")
		v.record(p)
		v.schedule(podKey(name))
	}
	v.observe(podKey("web-1-0"), events.ContainerStarted, startedFact("uid-web-1-0", 0))

	set, dep := projections.As[*appsv1.ReplicaSet](v.object(setKey)), projections.As[*appsv1.Deployment](v.object(deployKey))
	if s := set.Status; s.Replicas != 2 || s.ReadyReplicas != 1 || s.AvailableReplicas != 1 || s.FullyLabeledReplicas != 2 {
		t.Errorf("set status = %+v", s)
	}
	if s := dep.Status; s.Replicas != 2 || s.UpdatedReplicas != 2 || s.ReadyReplicas != 1 || s.UnavailableReplicas != 1 || s.ObservedGeneration != 1 {
		t.Errorf("deployment status = %+v", s)
	}
	head := fmt.Sprint(v.world.Seq())
	if set.ResourceVersion != head || dep.ResourceVersion != head {
		t.Errorf("resource versions %s and %s, want %s", set.ResourceVersion, dep.ResourceVersion, head)
	}
	if got := projections.StateOfSet(v.object(setKey)); got.Requested != 2 || len(got.Vacated) != 0 {
		t.Errorf("state of set = %+v", got)
	}

	gone := v.record(projections.Removed(v.object(podKey("web-1-1")), events.TypeOf("pod", events.FactDeleted), events.Ref{}))
	if got := projections.StateOfSet(v.object(setKey)).Vacated[1]; got != gone {
		t.Errorf("slot 1 was vacated by %+v, want %+v", got, gone)
	}
	if s := projections.As[*appsv1.ReplicaSet](v.object(setKey)).Status; s.Replicas != 1 {
		t.Errorf("replicas after a deletion = %d", s.Replicas)
	}
	var notes []string
	for o := range v.world.List(projections.KubeEvents, "shop") {
		e := projections.As[*corev1.Event](o)
		notes = append(notes, e.InvolvedObject.Kind+" "+e.Reason)
	}
	if got := strings.Join(notes, ", "); !strings.Contains(got, "ReplicaSet SuccessfulCreate") || !strings.Contains(got, "Pod Scheduled") || !strings.Contains(got, "Pod Started") {
		t.Errorf("kubernetes events = %s", got)
	}
}

func owner(kind, name, uid string) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}}
}

// TestSameLogSameWorld refolds a log and compares every object as JSON.
func TestSameLogSameWorld(t *testing.T) {
	v := newVoyage(t)
	v.create(podKey("p"), newPod("p", nil))
	v.schedule(podKey("p"))
	v.observe(podKey("p"), events.ContainerStarted, startedFact("uid-p", 0))
	v.observe(events.Key{Resource: "nodes", Name: "n1"}, events.NodeRegistered, events.Registered{UID: "uid-n1", Labels: map[string]string{"a": "b"}, Capacity: map[string]string{"cpu": "2", "memory": "1Gi"}})
	v.observe(events.Key{Resource: "nodes", Name: "n1"}, events.NodeReady, events.Readiness{Reason: "AgentReady", Message: "up"})
	again := projections.Empty()
	for _, r := range v.log {
		again, _ = again.Fold(r)
	}
	if a, b := dump(t, v.world), dump(t, again); a != b {
		t.Errorf("two folds of one log differ:\n%s\n%s", a, b)
	}
	node := projections.As[*corev1.Node](v.object(events.Key{Resource: "nodes", Name: "n1"}))
	if !projections.NodeIsReady(v.object(events.Key{Resource: "nodes", Name: "n1"})) || node.Status.Capacity.Cpu().String() != "2" || node.Labels["a"] != "b" {
		t.Errorf("node = %+v", node.Status)
	}
}

func dump(t *testing.T, w *projections.World) string {
	t.Helper()
	var b strings.Builder
	for _, table := range w.Tables() {
		for o := range w.List(table, "") {
			raw, err := json.Marshal(o.Value())
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s %d %s\n", o.Key, o.Seq, raw)
		}
	}
	return b.String()
}

// TestEventsOfTheDeadExpire shows that an hour after a deletion its Kubernetes
// Events are gone, by the clock of the log.
func TestEventsOfTheDeadExpire(t *testing.T) {
	v := newVoyage(t)
	v.create(podKey("p"), newPod("p", nil))
	v.schedule(podKey("p"))
	v.record(projections.Removed(v.object(podKey("p")), events.TypeOf("pod", events.FactDeleted), events.Ref{}))
	if v.world.Count(projections.KubeEvents) != 1 {
		t.Fatalf("%d kubernetes events after the deletion, want 1", v.world.Count(projections.KubeEvents))
	}
	late := events.Recorded{Seq: v.world.Seq() + 1, Stored: start.Add(2 * time.Hour), Event: projections.Created(podKey("q"), events.TypeOf("pod", events.FactCreated), events.Ref{}, newPod("q", nil)).Event}
	w, _ := v.world.Fold(late)
	if w.Count(projections.KubeEvents) != 0 {
		t.Errorf("%d kubernetes events an hour after the deletion, want none", w.Count(projections.KubeEvents))
	}
}
