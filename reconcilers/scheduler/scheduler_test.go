package scheduler_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/scheduler"
)

func podKey(name string) events.Key {
	return events.Key{Resource: "pods", Namespace: "shop", Name: name}
}

func nodeKey(name string) events.Key { return events.Key{Resource: "nodes", Name: name} }

// newPod requests some of a node: "cpu=500m memory=1Gi".
func newPod(requests string) *corev1.Pod {
	list := corev1.ResourceList{}
	for f := range strings.FieldsSeq(requests) {
		name, value, _ := strings.Cut(f, "=")
		list[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return &corev1.Pod{Spec: corev1.PodSpec{
		SchedulerName: corev1.DefaultSchedulerName,
		Containers:    []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Requests: list}}},
	}}
}

func standard() map[string]string {
	return map[string]string{"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi", "pods": "3"}
}

func with(base map[string]string, name, value string) map[string]string {
	out := maps.Clone(base)
	out[name] = value
	return out
}

func settle(t *testing.T, c *reconcilertest.Cluster) {
	t.Helper()
	if err := c.Settle(); err != nil {
		t.Fatal(err)
	}
	if err := c.Checked(); err != nil {
		t.Fatal(err)
	}
}

func place(c *reconcilertest.Cluster, name string) string { return c.Object(podKey(name)).NodeName() }

func message(c *reconcilertest.Cluster, name string) string {
	return projections.PodUnschedulable(c.Object(podKey(name)))
}

func taint(c *reconcilertest.Cluster, node string, ts ...corev1.Taint) {
	reconcilertest.Edit(c, nodeKey(node), events.NodeTainted, func(n *corev1.Node) { n.Spec.Taints = ts })
}

// Each filter lets through what fits and says in upstream's words why something
// does not.
func TestFilters(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	affinity := func(op corev1.NodeSelectorOperator, values ...string) *corev1.Affinity {
		return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "disk", Operator: op, Values: values}}}},
		}}}
	}
	port := func(ip string, n int32) []corev1.ContainerPort {
		return []corev1.ContainerPort{{HostIP: ip, HostPort: n, ContainerPort: n, Protocol: corev1.ProtocolTCP}}
	}
	const elsewhere = "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		edit func(*corev1.Pod)
		node func(c *reconcilertest.Cluster)
		want string // the message; empty if it fits
	}{
		"fits":              {pod: newPod("cpu=2 memory=4Gi")},
		"cpu":               {pod: newPod("cpu=2001m"), want: "0/1 nodes are available: 1 Insufficient cpu."},
		"several":           {pod: newPod("cpu=3 memory=5Gi"), want: "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory."},
		"ephemeral storage": {pod: newPod("ephemeral-storage=11Gi"), want: "0/1 nodes are available: 1 Insufficient ephemeral-storage."},
		"unknown resource":  {pod: newPod("example.com/gpu=1"), want: "0/1 nodes are available: 1 Insufficient example.com/gpu."},
		"init containers count": {pod: newPod("cpu=1"), edit: func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("3")}}}}
		}, want: "0/1 nodes are available: 1 Insufficient cpu."},
		"sidecars add up": {pod: newPod("cpu=1"), edit: func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{{Name: "i", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1500m")}}}}
		}, want: "0/1 nodes are available: 1 Insufficient cpu."},
		"too many pods": {pod: newPod(""), node: func(c *reconcilertest.Cluster) {
			for i := range 3 {
				c.Create(podKey(fmt.Sprint("other-", i)), bound("n1"))
			}
		}, want: "0/1 nodes are available: 1 Too many pods."},
		"finished pods take nothing": {pod: newPod("cpu=2"), node: func(c *reconcilertest.Cluster) {
			p := bound("n1")
			p.Spec.Containers = newPod("cpu=1").Spec.Containers
			c.Reject(c.Create(podKey("other"), p))
		}},
		"cordoned": {pod: newPod(""), node: func(c *reconcilertest.Cluster) {
			reconcilertest.Edit(c, nodeKey("n1"), events.NodeCordoned, func(n *corev1.Node) { n.Spec.Unschedulable = true })
		}, want: "0/1 nodes are available: 1 node(s) were unschedulable."},
		"tainted": {pod: newPod(""), node: func(c *reconcilertest.Cluster) {
			taint(c, "n1", corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule})
		}, want: "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}."},
		"taint that only prefers": {pod: newPod(""), node: func(c *reconcilertest.Cluster) {
			taint(c, "n1", corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectPreferNoSchedule})
		}},
		"tolerated": {pod: newPod(""), edit: func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Value: "db"}, {Key: "slow", Operator: corev1.TolerationOpExists}}
		}, node: func(c *reconcilertest.Cluster) {
			taint(c, "n1", corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule}, corev1.Taint{Key: "slow", Effect: corev1.TaintEffectNoExecute})
		}},
		"tolerated with another value": {pod: newPod(""), edit: func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpEqual, Value: "web"}}
		}, node: func(c *reconcilertest.Cluster) {
			taint(c, "n1", corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule})
		}, want: "0/1 nodes are available: 1 node(s) had untolerated taint {dedicated: db}."},
		"selector":          {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }},
		"selector misses":   {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }, want: elsewhere},
		"affinity":          {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.Affinity = affinity("In", "ssd", "nvme") }},
		"affinity misses":   {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.Affinity = affinity("DoesNotExist") }, want: elsewhere},
		"affinity is wrong": {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.Affinity = affinity("Nonsense") }, want: elsewhere},
		"port": {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.Containers[0].Ports = port("10.0.0.1", 80) }, node: func(c *reconcilertest.Cluster) {
			p := bound("n1")
			p.Spec.Containers[0].Ports = port("", 80)
			c.Create(podKey("other"), p)
		}, want: "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."},
		"port of another address": {pod: newPod(""), edit: func(p *corev1.Pod) { p.Spec.Containers[0].Ports = port("10.0.0.1", 80) }, node: func(c *reconcilertest.Cluster) {
			p := bound("n1")
			p.Spec.Containers[0].Ports = port("10.0.0.2", 80)
			c.Create(podKey("other"), p)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New(scheduler.New())
			c.Register("n1", map[string]string{"disk": "ssd"}, standard())
			if test.node != nil {
				test.node(c)
			}
			if test.edit != nil {
				test.edit(test.pod)
			}
			c.Create(podKey("p"), test.pod)
			settle(t, c)
			if got := message(c, "p"); got != test.want || (place(c, "p") == "n1") != (test.want == "") {
				t.Errorf("on %q: %q, want %q", place(c, "p"), got, test.want)
			}
		})
	}
}

func bound(node string) *corev1.Pod {
	p := newPod("")
	p.Spec.NodeName = node
	return p
}

func TestNodeThatIsNotReady(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	d := events.Registered{UID: "u", Allocatable: standard()}
	genesis := c.World().Genesis()
	r := c.MustApply(events.New(nodeKey("n1").Observed("n1"), 0, events.NodeRegistered, genesis, d))
	c.Create(podKey("p"), newPod(""))
	settle(t, c)
	if got := message(c, "p"); got != "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }." {
		t.Fatalf("message %q", got)
	}
	c.MustApply(events.New(nodeKey("n1").Observed("n1"), r.Seq, events.NodeReady, r.Ref(), events.Readiness{Reason: "AgentReady"}))
	settle(t, c)
	if place(c, "p") != "n1" || message(c, "p") != "" {
		t.Errorf("on %q, message %q", place(c, "p"), message(c, "p"))
	}
}

func TestLeavesAlone(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Pod){
		"another scheduler's": func(p *corev1.Pod) { p.Spec.SchedulerName = "mine" },
		"gated":               func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x/y"}} },
		"bound":               func(p *corev1.Pod) { p.Spec.NodeName = "n9" },
		"to be deleted": func(p *corev1.Pod) {
			now := metav1.Now()
			p.DeletionTimestamp = &now
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := reconcilertest.New(scheduler.New())
			c.Register("n1", nil, standard())
			p := newPod("")
			edit(p)
			c.Create(podKey("p"), p)
			before := len(c.Log())
			settle(t, c)
			if len(c.Log()) != before {
				t.Errorf("did\n%s", reconcilertest.Render(c.Log()[before:]))
			}
		})
	}
}

// Unschedulable is said once for each different reason, and the pod is tried
// again when a node comes or a pod goes.
func TestSaysWhyOnce(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	c.Create(podKey("p"), newPod("cpu=2"))
	settle(t, c)
	if got := message(c, "p"); got != "no nodes available to schedule pods" {
		t.Fatalf("message %q", got)
	}
	c.Register("n1", nil, with(standard(), "cpu", "1"))
	c.Register("n2", nil, with(standard(), "cpu", "1500m"))
	settle(t, c)
	said := func() (n int) {
		for _, r := range c.Log() {
			if r.Type == events.PodUnschedulable {
				n++
			}
		}
		return n
	}
	n := said()
	c.WakeAll()
	taint(c, "n1")
	settle(t, c)
	if said() != n || message(c, "p") != "0/2 nodes are available: 2 Insufficient cpu." {
		t.Errorf("said %d times, then %d: %s", n, said(), message(c, "p"))
	}
	c.Register("n3", nil, standard())
	settle(t, c)
	if place(c, "p") != "n3" {
		t.Fatalf("on %q: %s", place(c, "p"), message(c, "p"))
	}
	by := bound("n3") // by a person, who may overcommit
	by.Spec.Containers = newPod("cpu=1").Spec.Containers
	blocker := c.Create(podKey("blocker"), by)
	c.Create(podKey("q"), newPod("cpu=2"))
	settle(t, c)
	c.Delete(podKey("p"))
	settle(t, c)
	if place(c, "q") != "" {
		t.Fatalf("q is on %s beside the blocker", place(c, "q"))
	}
	c.Delete(blocker.Key)
	settle(t, c)
	if place(c, "q") != "n3" {
		t.Errorf("q: %s", message(c, "q"))
	}
}

// The name of a pod that was refused can be used again, and refused again.
func TestSecondPodOfTheName(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	for range 2 {
		c.Create(podKey("p"), newPod(""))
		settle(t, c)
		if message(c, "p") == "" {
			t.Fatal("nothing said")
		}
		c.Delete(podKey("p"))
	}
}

func TestDecisionExplainsItself(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	c.Register("a", nil, with(standard(), "cpu", "1"))
	c.Register("b", nil, standard())
	c.Register("c", nil, with(standard(), "cpu", "4"))
	pod := c.Create(podKey("p"), newPod("cpu=2"))
	settle(t, c)
	last := c.Log()[len(c.Log())-1]
	d, err := events.Decode[events.Scheduled](last)
	if err != nil || d.Node != "c" || len(d.Candidates) != 3 || d.UID != string(pod.UID()) || last.CauseAt != pod.Desired.Seq {
		t.Fatalf("%+v, %v", d, err)
	}
	a, b, best := d.Candidates[0], d.Candidates[1], d.Candidates[2]
	if a.Fits || a.Reason != "Insufficient cpu" || !b.Fits || !best.Fits || b.Score >= best.Score || best.Score > 100 || b.Score <= 0 {
		t.Errorf("%+v", d.Candidates)
	}
}

func TestSpreads(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	for i := range 3 {
		c.Register(fmt.Sprint("n", i), nil, with(standard(), "pods", "110"))
	}
	yes := true
	for i := range 6 {
		p := newPod("")
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "u", Controller: &yes}}
		c.Create(podKey(fmt.Sprint("web-", i)), p)
	}
	settle(t, c)
	for i := range 3 {
		n := 0
		for range c.World().PodsOnNode(fmt.Sprint("n", i)) {
			n++
		}
		if n != 2 {
			t.Errorf("n%d has %d pods, want 2", i, n)
		}
	}
}

func TestManyCandidates(t *testing.T) {
	c := reconcilertest.New(scheduler.New())
	for i := range 150 {
		c.Register(fmt.Sprintf("n%03d", i), nil, with(standard(), "cpu", fmt.Sprint(1+i/149)))
	}
	c.Create(podKey("p"), newPod("cpu=2"))
	settle(t, c)
	d, err := events.Decode[events.Scheduled](c.Log()[len(c.Log())-1])
	if err != nil || d.Node != "n149" || len(d.Candidates) != 100 || d.Candidates[99].Node != "n149" {
		t.Errorf("%s of %d candidates, %v", d.Node, len(d.Candidates), err)
	}
}

// No node ever holds more than it has, and no pod waits that would fit.
func FuzzNeverOvercommits(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 4))
		c := reconcilertest.New(scheduler.New())
		c.Choose = r.IntN
		nodes := 1 + r.IntN(4)
		for i := range nodes {
			c.Register(fmt.Sprint("n", i), nil, map[string]string{"cpu": fmt.Sprint(1 + r.IntN(4)), "memory": "8Gi", "pods": fmt.Sprint(1 + r.IntN(6))})
		}
		c.Watch = func(w *projections.World, _ events.Recorded) {
			for i := range nodes {
				wantRoom(t, w, fmt.Sprint("n", i), 0)
			}
		}
		for i := range 30 {
			switch pods := c.Pods("shop", ""); {
			case len(pods) > 0 && r.IntN(3) == 0:
				c.Delete(pods[r.IntN(len(pods))].Key)
			default:
				c.Create(podKey(fmt.Sprint("p", i)), newPod(fmt.Sprintf("cpu=%dm", 100*r.IntN(25))))
			}
			for range r.IntN(5) {
				if _, err := c.Turn(); err != nil {
					t.Fatal(err)
				}
			}
		}
		settle(t, c)
		for _, pod := range c.Pods("shop", "") {
			if pod.NodeName() != "" {
				continue
			}
			cpu := projections.As[*corev1.Pod](pod).Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
			for i := range nodes {
				if free, slots := room(c.World(), fmt.Sprint("n", i)); free >= cpu && slots > 0 {
					t.Errorf("%s waits though n%d has %dm for its %dm", pod.Key.Name, i, free, cpu)
				}
			}
		}
	})
}

func wantRoom(t *testing.T, w *projections.World, node string, least int64) {
	t.Helper()
	if cpu, pods := room(w, node); cpu < least || pods < least {
		t.Fatalf("%s is overcommitted: %dm, %d pods left", node, cpu, pods)
	}
}

// room is the CPU and the number of pods that a node has left.
func room(w *projections.World, node string) (cpu, pods int64) {
	o, _ := w.Get(nodeKey(node))
	n := projections.As[*corev1.Node](o)
	cpu, pods = n.Status.Allocatable.Cpu().MilliValue(), n.Status.Allocatable.Pods().Value()
	for pod := range w.PodsOnNode(node) {
		cpu -= projections.As[*corev1.Pod](pod).Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		pods--
	}
	return cpu, pods
}
