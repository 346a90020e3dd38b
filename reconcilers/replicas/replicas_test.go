package replicas_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/replicas"
)

func setKey(name string) events.Key {
	return events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: name}
}

func podKey(name string) events.Key {
	return events.Key{Resource: "pods", Namespace: "shop", Name: name}
}

func newSet(n int32) *appsv1.ReplicaSet {
	labels := map[string]string{"app": "web"}
	return &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{
		Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: map[string]string{"note": "x"}, Finalizers: nil},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		},
	}}
}

func newPod(labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Labels: labels},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
	}
}

func settle(t *testing.T, c *reconcilertest.Cluster) {
	t.Helper()
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := c.Checked(); err != nil {
		t.Fatalf("%v\n%s", err, reconcilertest.Render(c.Log()))
	}
}

func active(c *reconcilertest.Cluster, set events.Key) (names []string) {
	for _, pod := range c.Pods("shop", c.Object(set).UID()) {
		if projections.PodActive(pod) {
			names = append(names, pod.Key.Name)
		}
	}
	return names
}

func slots(c *reconcilertest.Cluster, set events.Key) (out []int) {
	for _, pod := range c.Pods("shop", c.Object(set).UID()) {
		if slot, ok := projections.Slot(pod); ok && projections.PodActive(pod) {
			out = append(out, slot)
		}
	}
	slices.Sort(out)
	return out
}

func scale(c *reconcilertest.Cluster, set events.Key, n int32) events.Recorded {
	return reconcilertest.Edit(c, set, events.ReplicaSetScaled, func(s *appsv1.ReplicaSet) { s.Spec.Replicas = &n })
}

func TestFills(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	set := c.Create(setKey("web"), newSet(3))
	settle(t, c)
	if got := slots(c, setKey("web")); !slices.Equal(got, []int{0, 1, 2}) {
		t.Fatalf("slots %v", got)
	}
	pod := c.Pods("shop", set.UID())[0]
	v := projections.As[*corev1.Pod](pod)
	ref := metav1.GetControllerOf(v)
	switch {
	case ref == nil || ref.Kind != "ReplicaSet" || ref.APIVersion != "apps/v1" || ref.Name != "web" || ref.UID != set.UID() || !*ref.BlockOwnerDeletion:
		t.Errorf("owner %+v", ref)
	case v.GenerateName != "web-" || !strings.HasPrefix(v.Name, "web-") || len(v.Name) != 9 || v.Generation != 1 || v.UID == "":
		t.Errorf("metadata %+v", v.ObjectMeta)
	case v.Labels["app"] != "web" || v.Annotations["note"] != "x" || v.Annotations[projections.SlotAnnotation] == "":
		t.Errorf("labels %v, annotations %v", v.Labels, v.Annotations)
	case v.Spec.ServiceAccountName != "default" || len(v.Spec.Tolerations) != 2 || *v.Spec.TerminationGracePeriodSeconds != 30:
		t.Errorf("spec %+v", v.Spec)
	}
	if r := c.Log()[pod.Desired.Seq-1]; r.CauseAt != set.Desired.Seq {
		t.Errorf("caused by %d, want %d", r.CauseAt, set.Desired.Seq)
	}
	if facts := c.Ask(replicas.Name, setKey("web")); len(facts) > 0 {
		t.Errorf("decided again: %v", facts)
	}
}

func TestReplacesInTheSameSlot(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	set := c.Create(setKey("web"), newSet(3))
	settle(t, c)
	var lost *projections.Object
	for _, pod := range c.Pods("shop", set.UID()) {
		if slot, _ := projections.Slot(pod); slot == 1 {
			lost = pod
		}
	}
	gone := c.Delete(lost.Key)
	settle(t, c)
	last := c.Log()[len(c.Log())-1]
	if last.Type != events.PodRequested || last.CauseAt != gone.Seq || last.Subject.Key == lost.Key {
		t.Fatalf("last event:\n%s", reconcilertest.Render(c.Log()[len(c.Log())-1:]))
	}
	if slot, _ := projections.Slot(c.Object(last.Subject.Key)); slot != 1 {
		t.Errorf("slot %d, want 1", slot)
	}
	if c.Object(last.Subject.Key).UID() == lost.UID() {
		t.Error("a uid was used twice")
	}
}

// A failed pod is replaced and stays to be looked at; so does one on its way out.
func TestReplacesWhatNoLongerCounts(t *testing.T) {
	for name, end := range map[string]func(*reconcilertest.Cluster, *projections.Object){
		"failed":  func(c *reconcilertest.Cluster, pod *projections.Object) { c.Reject(pod) },
		"deleted": func(c *reconcilertest.Cluster, pod *projections.Object) { c.RequestDeletion(pod.Key) },
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New(replicas.New())
			set := c.Create(setKey("web"), newSet(2))
			settle(t, c)
			pod := bind(c, c.Pods("shop", set.UID())[0])
			end(c, pod)
			settle(t, c)
			if all := c.Pods("shop", set.UID()); len(all) != 3 || len(active(c, setKey("web"))) != 2 {
				t.Errorf("%d pods, active %v", len(all), active(c, setKey("web")))
			}
		})
	}
}

// Pods that no node takes are not replaced without end.
func TestPatience(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	set := c.Create(setKey("web"), newSet(1))
	start, made := c.Now(), 0
	for c.Now().Sub(start) < time.Hour {
		settle(t, c)
		for _, pod := range c.Pods("shop", set.UID()) {
			if projections.PodActive(pod) {
				made++
				c.Reject(bind(c, pod))
			}
		}
		settle(t, c)
		if made > 5 && !c.AdvanceToAlarm(time.Hour) {
			t.Fatalf("nobody wants to try again after %d pods", made)
		}
	}
	if made < 15 || made > 30 {
		t.Errorf("%d pods were made in an hour", made)
	}
}

func bind(c *reconcilertest.Cluster, pod *projections.Object) *projections.Object {
	c.MustApply(events.New(pod.Key.Wanted(), pod.Desired.Seq, events.PodScheduled, pod.Desired, events.Scheduled{UID: string(pod.UID()), Node: "n1"}))
	return c.Object(pod.Key)
}

func TestScalesDown(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	set := c.Create(setKey("web"), newSet(2))
	settle(t, c)
	kept := bind(c, c.Pods("shop", set.UID())[1])
	c.Run(kept)
	request := scale(c, setKey("web"), 1)
	settle(t, c)
	if got := active(c, setKey("web")); !slices.Equal(got, []string{kept.Key.Name}) {
		t.Fatalf("left %v, want the running one %s", got, kept.Key.Name)
	}
	unbound := c.Pods("shop", set.UID())[0]
	if g := unbound.Meta().GetDeletionGracePeriodSeconds(); g == nil || *g != 0 {
		t.Errorf("grace of an unscheduled pod: %v", g)
	}
	if r := c.Log()[unbound.Desired.Seq-1]; r.Type != events.PodRetired || r.CauseAt != request.Seq {
		t.Errorf("%s", reconcilertest.Render([]events.Recorded{r}))
	}
	scale(c, setKey("web"), 0)
	settle(t, c)
	v := c.Object(kept.Key).Meta()
	if g := v.GetDeletionGracePeriodSeconds(); *g != 30 || !v.GetDeletionTimestamp().Time.Equal(c.Now().Add(30*time.Second)) {
		t.Errorf("grace %d, until %v at %v", *g, v.GetDeletionTimestamp(), c.Now())
	}
}

func TestAdoptsAndReleases(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	c.Create(podKey("mine"), newPod(map[string]string{"app": "web", "extra": "yes"}))
	c.Create(podKey("other"), newPod(map[string]string{"app": "db"}))
	failed := c.Create(podKey("failed"), newPod(map[string]string{"app": "web"}))
	c.Reject(failed)
	c.Create(setKey("web"), newSet(2))
	settle(t, c)
	set := c.Object(setKey("web"))
	if got := active(c, setKey("web")); len(got) != 2 || !slices.Contains(got, "mine") {
		t.Fatalf("active %v", got)
	}
	if got := slots(c, setKey("web")); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("slots %v", got)
	}
	change := reconcilertest.Edit(c, podKey("mine"), events.TypeOf("pod", events.FactMetadataChanged), func(p *corev1.Pod) { p.Labels["app"] = "debug" })
	settle(t, c)
	mine := c.Object(podKey("mine"))
	if _, ok := projections.Slot(mine); ok || mine.Controller() != nil {
		t.Errorf("not released: %v %v", mine.Owners(), mine.Annotations())
	}
	if r := c.Log()[mine.Desired.Seq-1]; r.Type != events.PodReleased || r.CauseAt != change.Seq {
		t.Errorf("%s", reconcilertest.Render([]events.Recorded{r}))
	}
	if got := active(c, setKey("web")); len(got) != 2 || slices.Contains(got, "mine") {
		t.Errorf("active %v", got)
	}
	if n := len(c.Pods("shop", set.UID())); n != 2 {
		t.Errorf("%d pods, want 2: a failed orphan is not adopted", n)
	}
}

func TestMatures(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	s := newSet(1)
	s.Spec.MinReadySeconds = 10
	set := c.Create(setKey("web"), s)
	settle(t, c)
	pod := bind(c, c.Pods("shop", set.UID())[0])
	c.Run(pod)
	settle(t, c)
	if at, ok := c.NextAlarm(); !ok || !at.Equal(c.Now().Add(10*time.Second)) {
		t.Fatalf("alarm at %v, %v", at, ok)
	}
	available := func() int32 {
		return projections.As[*appsv1.ReplicaSet](c.Object(setKey("web"))).Status.AvailableReplicas
	}
	c.Advance(9 * time.Second)
	settle(t, c)
	if available() != 0 {
		t.Fatal("available too early")
	}
	c.SetReady(pod, false)
	c.SetReady(pod, true)
	c.Advance(2 * time.Second)
	settle(t, c)
	if available() != 0 {
		t.Fatal("the time before it was unready counted")
	}
	c.Advance(8 * time.Second)
	settle(t, c)
	if available() != 1 || !projections.PodMatured(c.Object(pod.Key)) {
		t.Fatal("not available")
	}
}

func TestDoesNothing(t *testing.T) {
	for name, prepare := range map[string]func(c *reconcilertest.Cluster){
		"while the set is deleted": func(c *reconcilertest.Cluster) {
			c.Create(setKey("web"), newSet(0))
			c.RequestDeletion(setKey("web"), "x/y")
			scale(c, setKey("web"), 2)
		},
		"while the namespace is deleted": func(c *reconcilertest.Cluster) {
			ns := events.Key{Resource: "namespaces", Name: "shop"}
			c.Create(ns, &corev1.Namespace{})
			c.RequestDeletion(ns)
			c.Create(setKey("web"), newSet(2))
		},
		"for an empty object": func(c *reconcilertest.Cluster) {
			c.Create(setKey("web"), &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: new(int32)}})
			c.Create(podKey("lonely"), newPod(nil))
		},
		"for a negative number": func(c *reconcilertest.Cluster) { c.Create(setKey("web"), newSet(-3)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New(replicas.New())
			prepare(c)
			before := len(c.Log())
			settle(t, c)
			if len(c.Log()) != before {
				t.Errorf("did\n%s", reconcilertest.Render(c.Log()[before:]))
			}
		})
	}
}

func TestAsksForBurstsOnly(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	c.Create(setKey("web"), newSet(1100))
	if n := len(c.Ask(replicas.Name, setKey("web"))); n != 500 {
		t.Errorf("%d at once, want 500", n)
	}
	settle(t, c)
	if n := len(active(c, setKey("web"))); n != 1100 {
		t.Errorf("%d pods", n)
	}
}

func TestLongNames(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	key := setKey(strings.Repeat("a", 80))
	c.Create(key, newSet(3))
	settle(t, c)
	for _, name := range active(c, key) {
		if len(name) != 63 {
			t.Errorf("%s has %d letters", name, len(name))
		}
	}
}

// The order in which pods are retired is upstream's.
func TestWhoIsRetiredFirst(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	s := newSet(7)
	s.Spec.Template.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1")}
	set := c.Create(setKey("web"), s)
	settle(t, c)
	pods := c.Pods("shop", set.UID())
	if q := projections.As[*corev1.Pod](pods[0]).Spec.Containers[0].Resources.Requests["cpu"]; q.String() != "1" {
		t.Errorf("requests %s", q.String())
	}
	var want []string
	role := func(prepare func(pod *projections.Object)) {
		pod := pods[0]
		pods = pods[1:]
		want = append(want, pod.Key.Name)
		prepare(pod)
	}
	annotate := func(pod *projections.Object, cost string) *projections.Object {
		reconcilertest.Edit(c, pod.Key, events.TypeOf("pod", events.FactMetadataChanged), func(p *corev1.Pod) { p.Annotations[corev1.PodDeletionCost] = cost })
		return c.Object(pod.Key)
	}
	place := func(pod *projections.Object, node string) *projections.Object {
		c.MustApply(events.New(pod.Key.Wanted(), pod.Desired.Seq, events.PodScheduled, pod.Desired, events.Scheduled{UID: string(pod.UID()), Node: node}))
		return c.Object(pod.Key)
	}
	role(func(*projections.Object) {})                       // no node
	role(func(pod *projections.Object) { place(pod, "n2") }) // pending
	role(func(pod *projections.Object) {                     // not ready
		pod = place(pod, "n3")
		c.Run(pod)
		c.SetReady(pod, false)
	})
	role(func(pod *projections.Object) { c.Run(annotate(place(pod, "n4"), "-5")) }) // cheap
	var first, second *projections.Object
	role(func(pod *projections.Object) { second = place(pod, "n5") }) // young among two on a node
	role(func(pod *projections.Object) { first = place(pod, "n5") })  // ready for longer
	role(func(pod *projections.Object) { c.Run(place(pod, "n6")) })   // alone
	c.Advance(time.Second)
	c.Run(first)
	c.Advance(time.Second)
	c.Run(second)
	settle(t, c)
	for n := int32(6); n >= 0; n-- {
		scale(c, setKey("web"), n)
		settle(t, c)
		last := c.Log()[len(c.Log())-1]
		if got := last.Subject.Key.Name; got != want[6-n] {
			t.Errorf("scaled down to %d: %s went, want %s (%v)", n, got, want[6-n], want)
		}
	}
}

// Whatever people, nodes and chance do, the set settles with exactly as many
// active pods as it wants; and, unless two copies decided on Worlds of the past,
// each in its own slot and with a uid never used before.
func FuzzSettles(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := reconcilertest.New(replicas.New(), replicas.New()) // two copies race
		c.Choose = r.IntN
		late := seed%2 == 1
		if late {
			c.Lag = func(_ string, most int) int { return max(0, r.IntN(most+1)-most/2) }
		}
		c.Create(setKey("web"), newSet(int32(r.IntN(6))))
		for step := range 40 {
			disturb(c, r, step)
			for range r.IntN(4) {
				if _, err := c.Turn(); err != nil {
					t.Fatal(err)
				}
			}
		}
		settle(t, c)
		for c.AdvanceToAlarm(time.Hour) {
			settle(t, c)
		}
		want := int(*projections.As[*appsv1.ReplicaSet](c.Object(setKey("web"))).Spec.Replicas)
		if got := active(c, setKey("web")); len(got) != want {
			t.Fatalf("%d active pods, want %d\n%s", len(got), want, reconcilertest.Render(c.Log()))
		}
		if got := slots(c, setKey("web")); !late && len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("slots %v", got)
		}
		uids := map[string]string{}
		for _, e := range c.Log() {
			if e.Type != events.PodRequested {
				continue
			}
			s, err := events.Decode[events.State](e)
			if err != nil || !late && uids[s.UID] != "" {
				t.Fatalf("uid %s of %s was used before by %s (%v)", s.UID, e.Subject.Key.Name, uids[s.UID], err)
			}
			uids[s.UID] = e.Subject.Key.Name
		}
		before := len(c.Log())
		c.Lag = nil
		c.WakeAll()
		settle(t, c)
		if len(c.Log()) != before {
			t.Errorf("a settled set does more at a start:\n%s", reconcilertest.Render(c.Log()[before:]))
		}
	})
}

func disturb(c *reconcilertest.Cluster, r *rand.Rand, step int) {
	pods := c.Pods("shop", "")
	switch r.IntN(8) {
	case 0:
		scale(c, setKey("web"), int32(r.IntN(6)))
	case 1:
		c.Create(podKey(fmt.Sprintf("orphan-%d", step)), newPod(map[string]string{"app": "web"}))
	}
	if len(pods) == 0 {
		return
	}
	pod := pods[r.IntN(len(pods))]
	switch r.IntN(8) {
	case 0:
		c.Delete(pod.Key)
	case 1:
		if !pod.Deleting() {
			c.RequestDeletion(pod.Key)
		}
	case 2:
		reconcilertest.Edit(c, pod.Key, events.TypeOf("pod", events.FactMetadataChanged), func(p *corev1.Pod) {
			p.Labels = map[string]string{"app": []string{"web", "db"}[r.IntN(2)]}
		})
	case 3:
		if pod.NodeName() != "" {
			c.Reject(pod)
		}
	case 4:
		if pod.NodeName() == "" && !pod.Deleting() {
			bind(c, pod)
		}
	case 5:
		if pod.NodeName() != "" && !projections.PodFinished(pod) {
			c.Run(pod)
		}
	}
}

// A copy that decided on an older World can do no harm: the log refuses what it
// proposes.
func TestLateCopyIsRefused(t *testing.T) {
	c := reconcilertest.New(replicas.New())
	c.Create(setKey("web"), newSet(2))
	first, second := c.Ask(replicas.Name, setKey("web")), c.Ask(replicas.Name, setKey("web"))
	if !reflect.DeepEqual(first, second) {
		t.Fatal("the same World gave two answers")
	}
	for _, p := range first {
		c.MustApply(p)
	}
	for _, p := range second {
		if _, err := c.Apply(p); err == nil {
			t.Errorf("%s was recorded twice", p.Subject.Key)
		}
	}
	if n := len(active(c, setKey("web"))); n != 2 {
		t.Errorf("%d pods", n)
	}
}
