package reconcilertest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
	"periplus.dev/reconcilers/deployments"
	"periplus.dev/reconcilers/garbage"
	"periplus.dev/reconcilers/namespaces"
	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/replicas"
	"periplus.dev/reconcilers/scheduler"
)

func all() []reconcilers.Reconciler {
	return []reconcilers.Reconciler{namespaces.New(), deployments.New(), replicas.New(), scheduler.New(), garbage.New()}
}

var webKey = events.Key{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}

func newCluster(t *testing.T) *reconcilertest.Cluster {
	c := reconcilertest.New(all()...)
	for _, node := range []string{"n1", "n2"} {
		c.Register(node, nil, map[string]string{"cpu": "4", "memory": "8Gi", "pods": "110"})
	}
	c.WakeAll()
	serve(t, c)
	labels := map[string]string{"app": "web"}
	n := int32(2)
	c.Create(webKey, &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{SchedulerName: "default-scheduler", Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		},
	}})
	serve(t, c)
	return c
}

// serve lets everybody do what there is to do, the nodes too.
func serve(t *testing.T, c *reconcilertest.Cluster) {
	t.Helper()
	for range 100 {
		if err := c.Settle(); err != nil {
			t.Fatal(err)
		}
		if err := c.Checked(); err != nil {
			t.Fatalf("%v\n%s", err, reconcilertest.Render(c.Log()))
		}
		idle := true
		for _, pod := range c.Pods("", "") {
			ready, _ := projections.PodReady(pod)
			switch {
			case pod.NodeName() == "":
			case pod.Deleting() && !projections.PodStopped(pod):
				idle = false
				c.Stop(pod)
			case !pod.Deleting() && !ready:
				idle = false
				c.Run(pod)
			}
		}
		if idle {
			return
		}
	}
	t.Fatalf("no end\n%s", reconcilertest.Render(c.Log()))
}

func facts(log []events.Recorded) string {
	var b strings.Builder
	for _, r := range log {
		fmt.Fprintln(&b, r.Type.Short())
	}
	return b.String()
}

// The life of a deployment, from the request to the last pod's end.
func TestLifeOfADeployment(t *testing.T) {
	c := newCluster(t)
	nodes := map[string]int{}
	for _, pod := range c.Pods("default", "") {
		nodes[pod.NodeName()]++
	}
	if nodes["n1"] != 1 || nodes["n2"] != 1 {
		t.Fatalf("pods per node: %v", nodes)
	}
	before := len(c.Log())
	request := reconcilertest.Edit(c, webKey, events.DeploymentTemplateChanged, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" })
	serve(t, c)
	for _, pod := range c.Pods("default", "") {
		if image := projections.As[*corev1.Pod](pod).Spec.Containers[0].Image; image != "web:2" {
			t.Errorf("%s has %s", pod.Key.Name, image)
		}
		leads := false
		for _, r := range c.CauseChain(pod.Observed.Seq) {
			leads = leads || r.Seq == request.Seq
		}
		if !leads {
			t.Errorf("%s does not lead back to the request:\n%s", pod.Key.Name, reconcilertest.Render(c.CauseChain(pod.Observed.Seq)))
		}
	}
	if got := facts(c.Log()[before:]); strings.Count(got, "pod.requested") != 2 || strings.Count(got, "pod.retired") != 2 || strings.Count(got, "pod.finalized") != 2 {
		t.Errorf("\n%s", reconcilertest.Render(c.Log()[before:]))
	}
	request = c.Delete(webKey)
	serve(t, c)
	for _, table := range []string{projections.Pods, projections.ReplicaSets, projections.Deployments} {
		if n := c.World().Count(table); n != 0 {
			t.Errorf("%d %s left", n, table)
		}
	}
	for _, r := range c.Log()[request.Seq:] {
		if chain := c.CauseChain(r.Seq); r.Type.Short() == "pod.collect-requested" && chain[len(chain)-1].Seq != request.Seq {
			t.Errorf("collected because of\n%s", reconcilertest.Render(chain))
		}
	}
}

func TestNamespaceWithADeploymentEnds(t *testing.T) {
	c := newCluster(t)
	ns := events.Key{Resource: "namespaces", Name: "default"}
	c.RequestDeletion(ns)
	serve(t, c)
	if n := c.World().Count(projections.Pods) + c.World().Count(projections.Deployments) + c.World().Count(projections.ReplicaSets); n != 0 {
		t.Errorf("%d objects left", n)
	}
	if got := facts(c.Log()); !strings.Contains(got, "namespace.emptied\n") {
		t.Errorf("not emptied:\n%s", reconcilertest.Render(c.Log()))
	}
}

// Nobody panics over objects that no door would let in, nor proposes without end.
func TestOddObjects(t *testing.T) {
	specs := []string{
		`null`, `{}`, `[]`, `"x"`, `{"replicas":-5}`, `{"replicas":1e99}`, `{"selector":{}}`,
		`{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}}}}`,
		`{"replicas":1,"selector":{"matchExpressions":[{"key":"a","operator":"Nonsense"}]}}`,
		`{"replicas":2,"minReadySeconds":-1,"revisionHistoryLimit":-1,"selector":{"matchLabels":{"a":"b"}},"strategy":{"type":"Nonsense","rollingUpdate":{"maxSurge":"x%","maxUnavailable":-4}}}`,
		`{"nodeName":"nowhere","containers":[{"name":"c","resources":{"requests":{"cpu":"9223372036854775807","memory":"8Ei"}}}]}`,
		`{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{}}},"containers":[{},{}]}`,
		`{"finalizers":["x"],"taints":[{}],"unschedulable":true}`,
	}
	metas := []string{
		`{}`, `{"labels":{"a":"b"}}`, `{"deletionTimestamp":"2020-01-01T00:00:00Z"}`,
		`{"labels":{"a":"b"},"annotations":{"periplus.dev/slot":"99999999999999999999","deployment.kubernetes.io/revision":"x","deployment.kubernetes.io/max-replicas":"-1","deployment.kubernetes.io/desired-replicas":"0"}}`,
		`{"deletionTimestamp":"2020-01-01T00:00:00Z","finalizers":["foregroundDeletion","orphan"]}`,
		`{"ownerReferences":[{"uid":"own","apiVersion":"v1","kind":"Pod","controller":true},{"uid":"","apiVersion":"///","kind":""}]}`,
	}
	c := reconcilertest.New(all()...)
	c.Register("n1", nil, map[string]string{"cpu": "nonsense", "memory": "-1"})
	for _, k := range []events.Key{
		{Resource: "pods"}, {Resource: "nodes"}, {Resource: "namespaces"}, {Resource: "configmaps"},
		{Group: "apps", Resource: "replicasets"}, {Group: "apps", Resource: "deployments"}, {Group: "example.com", Resource: "things"},
	} {
		for i, spec := range specs {
			for j, meta := range metas {
				k.Name = fmt.Sprintf("o-%d-%d", i, j)
				if k.Resource != "nodes" && k.Resource != "namespaces" {
					k.Namespace = "default"
				}
				odd(t, c, k, meta, spec)
			}
		}
	}
	c.WakeAll()
	for range 5_000 {
		turned, err := c.Turn()
		if err != nil {
			t.Fatal(err)
		}
		if !turned {
			return
		}
	}
	t.Errorf("no end:\n%s", reconcilertest.Render(c.Log()[len(c.Log())-30:]))
}

func odd(t *testing.T, c *reconcilertest.Cluster, k events.Key, meta, spec string) {
	t.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(meta), &m); err != nil {
		t.Fatal(err)
	}
	m["name"], m["namespace"], m["uid"] = k.Name, k.Namespace, k.Resource+k.Name
	kind := projections.KindOf(k)
	if kind == "" {
		kind = "Thing"
	}
	object, err := json.Marshal(map[string]any{"kind": kind, "apiVersion": "v1", "metadata": m, "spec": json.RawMessage(spec)})
	if err != nil {
		t.Fatal(err)
	}
	state := events.State{Object: object, UID: k.Resource + k.Name}
	// What cannot be folded is passed over by the World, and so never seen.
	_, err = c.Apply(events.New(k.Wanted(), 0, events.TypeOf(strings.ToLower(kind), events.FactCreated), events.Ref{}, state))
	if err != nil && !errors.Is(err, events.ErrInvalid) {
		t.Fatal(err)
	}
}
