package projections_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// journey makes a log out of chance: sets and their pods come, live and go, and
// the clock of the log jumps at times.
type journey struct {
	world *projections.World
	log   []events.Recorded
	now   time.Time
}

func (j *journey) record(p events.Proposal) {
	j.now = j.now.Add(time.Second)
	r := events.Recorded{Event: p.Event, Seq: j.world.Seq() + 1, Stored: j.now}
	r.ID, r.Time = fmt.Sprintf("id-%d", r.Seq), j.now
	if r.Source == "" {
		r.Source = events.DoorSource
	}
	j.world, _ = j.world.Fold(r)
	j.log = append(j.log, r)
}

func (j *journey) observe(k events.Key, t events.Type, data any) {
	p := events.New(k.Observed("n1"), 0, t, events.Ref{Seq: 1, ID: "c"}, data)
	p.Source = events.NodeSource("n1")
	j.record(p)
}

var (
	deploymentKey = events.Key{Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}
	setKey        = events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: "web-1"}
)

// begin records what the steps are about.
func (j *journey) begin() {
	labels := map[string]string{"app": "web"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	j.record(projections.Created(deploymentKey, events.TypeOf("deployment", events.FactCreated), events.Ref{}, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "uid-d", CreationTimestamp: metav1.NewTime(start)},
		Spec:       appsv1.DeploymentSpec{Template: template},
	}))
	j.record(projections.Created(setKey, events.ReplicaSetRolledOut, events.Ref{}, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", UID: "uid-s", Labels: labels, OwnerReferences: owner("Deployment", "web", "uid-d")},
		Spec:       appsv1.ReplicaSetSpec{Template: template},
	}))
	j.observe(events.Key{Resource: "nodes", Name: "n1"}, events.NodeRegistered, events.Registered{UID: "uid-n", Labels: map[string]string{"a": "b"}, Capacity: map[string]string{"cpu": "2"}})
	j.observe(events.Key{Resource: "nodes", Name: "n1"}, events.NodeReady, events.Readiness{Reason: "AgentReady"})
	j.record(projections.Created(events.Key{Group: "x.io", Resource: "things", Name: "one"}, events.TypeOf("thing", events.FactCreated), events.Ref{},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "one", UID: "uid-t"}}))
}

// step records something that can happen to a pod.
func (j *journey) step(pod int, what string) {
	name := fmt.Sprintf("web-1-%d", pod)
	uid := "uid-" + name
	k := podKey(name)
	o, exists := j.world.Get(k)
	if what == "later" {
		j.now = j.now.Add(40 * time.Minute)
		return
	}
	if what == "requested" && !exists {
		p := newPod(name, func(p *corev1.Pod) {
			p.OwnerReferences, p.Labels = owner("ReplicaSet", "web-1", "uid-s"), map[string]string{"app": "web"}
			p.Annotations = map[string]string{projections.SlotAnnotation: fmt.Sprint(pod)}
			p.UID = types.UID(fmt.Sprintf("%s-%d", uid, j.world.Seq()))
		})
		j.record(projections.Created(k, events.PodRequested, events.Ref{}, p))
	}
	if !exists {
		return
	}
	uid = string(o.UID())
	switch what {
	case "scheduled":
		j.record(events.New(k.Wanted(), o.Desired.Seq, events.PodScheduled, o.Desired, events.Scheduled{UID: uid, Node: "n1"}))
	case "unschedulable":
		j.record(events.New(k.Observed(""), 0, events.PodUnschedulable, o.Desired, events.Unschedulable{UID: uid, Message: "no room"}))
	case "sandbox":
		j.observe(k, events.PodSandboxCreated, events.SandboxCreated{UID: uid, PodIPs: []string{"10.1.0.5"}})
	case "started":
		j.observe(k, events.ContainerStarted, startedFact(uid, 0))
	case "exited":
		j.observe(k, events.ContainerExited, exitedFact(uid, 0, 1, "Error"))
	case "rejected":
		j.observe(k, events.PodRejected, events.Rejected{UID: uid, Reason: "No", Message: "never"})
	case "reported":
		j.record(events.New(k.Observed(""), 0, events.TypeOf("pod", events.FactStatusReported), o.Desired,
			events.StatusReported{UID: uid, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9"}}))
	case "deleting":
		next := projections.As[*corev1.Pod](o).DeepCopy()
		when := metav1.NewTime(start)
		next.DeletionTimestamp = &when
		j.record(projections.Changed(o, events.PodRetired, o.Desired, next))
	case "gone":
		j.record(projections.Removed(o, events.TypeOf("pod", events.FactDeleted), o.Desired))
	}
}

var steps = []string{
	"requested", "requested", "scheduled", "sandbox", "started", "started", "exited", "unschedulable", "rejected", "reported", "deleting", "gone", "later",
}

// A World that was written and read again is the World that was written: all that
// can be asked of it, and all that can be folded onto it.
func TestDecodedWorldIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := &journey{world: projections.Empty(), now: start}
		j.begin()
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			j.step(rapid.IntRange(0, 3).Draw(t, "pod"), rapid.SampledFrom(steps).Draw(t, "step"))
		}
		cut := rapid.IntRange(0, len(j.log)).Draw(t, "cut")
		original := projections.Empty()
		for _, r := range j.log[:cut] {
			original, _ = original.Fold(r)
		}
		decoded, err := projections.Decode(bytes.NewReader(encoded(t, original)), projections.InTurn)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, original, decoded)
		for _, r := range j.log[cut:] {
			var a, b []projections.Change
			original, a = original.Fold(r)
			decoded, b = decoded.Fold(r)
			if x, y := changesText(a), changesText(b); x != y {
				t.Fatalf("event %d, %s, changes\n%s\nand on what was decoded\n%s", r.Seq, r.Type, x, y)
			}
		}
		compare(t, original, decoded)
		compare(t, j.world, decoded)
	})
}

func changesText(all []projections.Change) string {
	var out strings.Builder
	for _, c := range all {
		fmt.Fprintf(&out, "%d %s %s %s\n", c.Seq, c.Type, c.Object.Key, valueText(c.Object))
	}
	return out.String()
}

func valueText(o *projections.Object) string {
	raw, err := json.Marshal(o.Value())
	return fmt.Sprintf("%s %v", raw, err)
}

func encoded(t interface{ Fatal(args ...any) }, w *projections.World) []byte {
	var out bytes.Buffer
	if err := w.Encode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// compare holds a decoded World to the original.
func compare(t *rapid.T, want, got *projections.World) {
	t.Helper()
	if want.Seq() != got.Seq() || want.ID() != got.ID() || !want.Time().Equal(got.Time()) || want.Genesis() != got.Genesis() || want.Skipped() != got.Skipped() {
		t.Fatalf("at %d %s %s %v %d, want %d %s %s %v %d", got.Seq(), got.ID(), got.Time(), got.Genesis(), got.Skipped(),
			want.Seq(), want.ID(), want.Time(), want.Genesis(), want.Skipped())
	}
	if a, b := projections.Insides(want), projections.Insides(got); !slices.Equal(a, b) {
		t.Fatalf("it looks up\n%s\nwant\n%s", strings.Join(b, "\n"), strings.Join(a, "\n"))
	}
	for _, table := range want.Tables() {
		for o := range want.List(table, "") {
			p, ok := got.Get(o.Key)
			if !ok {
				t.Fatalf("%s is lost", o.Key)
			}
			if o.Seq != p.Seq || o.Desired != p.Desired || o.Own != p.Own || o.Observed != p.Observed || o.Observer != p.Observer || o.NodeName() != p.NodeName() || !bytes.Equal(o.Raw(), p.Raw()) {
				t.Fatalf("%s is %+v, want %+v", o.Key, p, o)
			}
			if a, b := valueText(o), valueText(p); a != b {
				t.Fatalf("%s is\n%s\nwant\n%s", o.Key, b, a)
			}
		}
	}
	if d := got.Differs(want); d != nil {
		t.Fatalf("they differ: %+v", d)
	}
	if !bytes.Equal(encoded(t, want), encoded(t, got)) {
		t.Fatal("written again it is other bytes")
	}
	if a, b := hashOf(t, want), hashOf(t, got); a.Total != b.Total {
		t.Fatalf("hash %s, want %s", b.Total, a.Total)
	}
}

func hashOf(t interface{ Fatal(args ...any) }, w *projections.World) projections.Hashes {
	h, err := w.Hash()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// A forged uid does not make a restart something that can be seen.
func TestDecodedIndexOfForgedUID(t *testing.T) {
	for _, removed := range []string{"", "a", "b"} {
		v := newVoyage(t)
		for _, name := range []string{"b", "a"} {
			v.create(podKey(name), newPod(name, func(p *corev1.Pod) { p.UID = "same" }))
		}
		if removed != "" {
			v.record(projections.Removed(v.object(podKey(removed)), events.TypeOf("pod", events.FactDeleted), events.Ref{}))
		}
		got, err := projections.Decode(bytes.NewReader(encoded(t, v.world)), projections.InTurn)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := projections.Insides(v.world), projections.Insides(got); !slices.Equal(a, b) {
			t.Errorf("without %q it looks up %q, want %q", removed, b, a)
		}
	}
}

// Whatever the bytes are, reading them ends with a World or an error; a World that
// was read is written as it was.
func FuzzDecode(f *testing.F) {
	j := &journey{world: projections.Empty(), now: start}
	f.Add(encoded(f, j.world))
	j.begin()
	for _, step := range []string{"requested", "scheduled", "sandbox", "started", "exited", "reported", "gone"} {
		j.step(0, step)
	}
	f.Add(encoded(f, j.world))
	f.Fuzz(func(t *testing.T, raw []byte) {
		w, err := projections.Decode(bytes.NewReader(raw), projections.InTurn)
		if err != nil {
			return
		}
		for _, table := range w.Tables() {
			for o := range w.List(table, "") {
				_ = o.Value()
			}
		}
		_ = encoded(t, w)
	})
}

func TestDecodeRefusesWhatIsLeftOverOrMissing(t *testing.T) {
	j := &journey{world: projections.Empty(), now: start}
	j.begin()
	whole := encoded(t, j.world)
	if _, err := projections.Decode(bytes.NewReader(append(slices.Clone(whole), 0)), projections.InTurn); err == nil {
		t.Error("a byte too many was passed over")
	}
	for cut := range whole {
		if _, err := projections.Decode(bytes.NewReader(whole[:cut]), projections.InTurn); err == nil {
			t.Errorf("the first %d of %d bytes are enough", cut, len(whole))
		}
	}
}

func TestHashSaysWhichKindDiffers(t *testing.T) {
	v := newVoyage(t)
	v.create(podKey("p"), newPod("p", nil))
	v.create(events.Key{Resource: "configmaps", Namespace: "shop", Name: "c"}, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "shop", UID: "uid-c"}})
	honest := v.log
	forged := slices.Clone(honest)
	forged[0].Data = bytes.Replace(forged[0].Data, []byte("web:1"), []byte("web:2"), 1)
	fold := func(log []events.Recorded) *projections.World {
		w := projections.Empty()
		for _, r := range log {
			w, _ = w.Fold(r)
		}
		return w
	}
	a, b := hashOf(t, fold(honest)), hashOf(t, fold(forged))
	if a.Total == b.Total || a.Tables["pods"] == b.Tables["pods"] || a.Tables["configmaps"] != b.Tables["configmaps"] {
		t.Errorf("honest %v, forged %v", a, b)
	}
	tests := []struct {
		name       string
		have, want *projections.World
		how, about string
	}{
		{"nothing", fold(honest), fold(honest), "", ""},
		{"a field", fold(forged), fold(honest), projections.DiffersContents, "core/pods/shop/p 1 [spec.containers[0].image]"},
		{"one too many", fold(honest), fold(honest[:1]), projections.DiffersExtra, "core/configmaps/shop/c 2 []"},
		{"one too few", fold(honest[:1]), fold(honest), projections.DiffersMissing, "core/configmaps/shop/c 2 []"},
		{"the last event", fold(append(slices.Clone(honest[:1]), events.Recorded{Seq: 2})), fold(honest[:1]), projections.DiffersBeside, " 2 []"},
	}
	for _, test := range tests {
		d := test.have.Differs(test.want)
		switch {
		case d == nil && test.how != "":
			t.Errorf("%s: no difference", test.name)
		case d != nil && (d.How != test.how || fmt.Sprint(d.Object, " ", d.Seq, " ", d.Fields) != test.about):
			t.Errorf("%s: %+v, want %s of %s", test.name, d, test.how, test.about)
		}
	}
}
