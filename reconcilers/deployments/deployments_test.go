package deployments_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers/deployments"
	"periplus.dev/reconcilers/reconcilertest"
	"periplus.dev/reconcilers/replicas"
)

var webKey = events.Key{Group: "apps", Resource: "deployments", Namespace: "shop", Name: "web"}

func setKey(name string) events.Key {
	return events.Key{Group: "apps", Resource: "replicasets", Namespace: "shop", Name: name}
}

func newDeployment(n int32, surge, unavailable int) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	s, u := intstr.FromInt32(int32(surge)), intstr.FromInt32(int32(unavailable))
	limit := int32(10)
	return &appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Replicas: &n, Selector: &metav1.LabelSelector{MatchLabels: labels}, RevisionHistoryLimit: &limit,
		Strategy: appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
		},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		},
	}}
}

// cluster is a cluster with deployments, replicas and a node that acts when told.
type cluster struct {
	*reconcilertest.Cluster
	t *testing.T
}

func newCluster(t *testing.T) cluster {
	return cluster{reconcilertest.New(deployments.New(), replicas.New()), t}
}

func (c cluster) settle() {
	c.t.Helper()
	if err := c.Settle(); err != nil {
		c.t.Fatal(err)
	}
	if err := c.Checked(); err != nil {
		c.t.Fatalf("%v\n%s", err, reconcilertest.Render(c.Log()))
	}
}

// serve lets the node do its work until there is none: pods run, and those that
// are to go are gone.
func (c cluster) serve() {
	c.t.Helper()
	for range 200 {
		c.settle()
		if !c.serveOne(0) {
			return
		}
		c.Advance(time.Second)
	}
	c.t.Fatalf("no end\n%s", reconcilertest.Render(c.Log()))
}

// serveOne does the n-th thing the node could do now.
func (c cluster) serveOne(n int) bool {
	var work []func()
	for _, pod := range c.Pods("shop", "") {
		ready, _ := projections.PodReady(pod)
		switch {
		case pod.Deleting() && projections.PodStopped(pod):
			work = append(work, func() {
				c.MustApply(projections.Removed(pod, projections.TypeOf(pod, events.FactFinalized), pod.Observed))
			})
		case pod.Deleting():
			work = append(work, func() { c.Stop(pod) })
		case !ready && !strings.Contains(projections.As[*corev1.Pod](pod).Spec.Containers[0].Image, "broken"):
			work = append(work, func() { c.Run(pod) })
		}
	}
	if len(work) == 0 {
		return false
	}
	work[n%len(work)]()
	return true
}

func (c cluster) edit(t events.Type, change func(*appsv1.Deployment)) events.Recorded {
	return reconcilertest.Edit(c.Cluster, webKey, t, change)
}

func (c cluster) setImage(image string) events.Recorded {
	return c.edit(events.DeploymentTemplateChanged, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

func (c cluster) scale(n int32) events.Recorded {
	return c.edit(events.DeploymentScaled, func(d *appsv1.Deployment) { d.Spec.Replicas = &n })
}

func (c cluster) deployment() *appsv1.Deployment {
	return projections.As[*appsv1.Deployment](c.Object(webKey))
}

// sets returns the sets by the image of their template.
func (c cluster) sets() map[string]*appsv1.ReplicaSet {
	out := map[string]*appsv1.ReplicaSet{}
	_, all := c.World().ReplicaSetsOf(c.Object(webKey))
	for _, o := range all {
		s := projections.As[*appsv1.ReplicaSet](o)
		out[s.Spec.Template.Spec.Containers[0].Image] = s
	}
	return out
}

// sizes are the sizes of the sets by image.
func (c cluster) sizes() map[string]int32 {
	out := map[string]int32{}
	for image, s := range c.sets() {
		out[image] = *s.Spec.Replicas
	}
	return out
}

func (c cluster) wantSizes(want map[string]int32) {
	c.t.Helper()
	got := c.sizes()
	for image, n := range want {
		if got[image] != n {
			c.t.Fatalf("sizes %v, want %v\n%s", got, want, reconcilertest.Render(c.Log()))
		}
	}
}

func TestFirstRollout(t *testing.T) {
	c := newCluster(t)
	d := newDeployment(2, 1, 0)
	d.Annotations = map[string]string{"kubernetes.io/change-cause": "first", corev1.LastAppliedConfigAnnotation: "{}"}
	o := c.Create(webKey, d)
	c.serve()
	s := c.sets()["web:1"]
	hash := s.Labels["pod-template-hash"]
	switch {
	case s.Name != "web-"+hash || hash == "" || s.Spec.Selector.MatchLabels["pod-template-hash"] != hash || s.Spec.Template.Labels["pod-template-hash"] != hash:
		t.Errorf("name %s, labels %v, selector %v", s.Name, s.Labels, s.Spec.Selector)
	case s.Annotations["deployment.kubernetes.io/revision"] != "1" || s.Annotations["deployment.kubernetes.io/desired-replicas"] != "2" ||
		s.Annotations["deployment.kubernetes.io/max-replicas"] != "3" || s.Annotations["kubernetes.io/change-cause"] != "first" ||
		s.Annotations[corev1.LastAppliedConfigAnnotation] != "":
		t.Errorf("annotations %v", s.Annotations)
	case c.deployment().Annotations["deployment.kubernetes.io/revision"] != "1":
		t.Errorf("annotations of the deployment %v", c.deployment().Annotations)
	case c.deployment().Status.AvailableReplicas != 2 || c.deployment().Status.UpdatedReplicas != 2:
		t.Errorf("status %+v", c.deployment().Status)
	}
	ref := metav1.GetControllerOf(s)
	if ref == nil || ref.UID != o.UID() || ref.Kind != "Deployment" || ref.APIVersion != "apps/v1" {
		t.Errorf("owner %+v", ref)
	}
}

func TestRollingUpdate(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(3, 1, 0))
	c.serve()
	request := c.setImage("web:2")
	c.settle()
	c.wantSizes(map[string]int32{"web:1": 3, "web:2": 1})
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 0, "web:2": 3})
	if got := c.deployment().Annotations["deployment.kubernetes.io/revision"]; got != "2" {
		t.Errorf("revision %s", got)
	}
	var why []string
	for _, pod := range c.Pods("shop", c.sets()["web:2"].UID) {
		chain := c.CauseChain(c.created(pod.Key))
		why = nil
		asked := false
		for _, r := range chain {
			why = append(why, r.Type.Short())
			asked = asked || r.Seq == request.Seq
		}
		if !asked {
			t.Errorf("%s leads back past the request: %v", pod.Key.Name, why)
		}
	}
}

func (c cluster) created(k events.Key) uint64 {
	for _, r := range c.Log() {
		if r.Subject.Key == k {
			return r.Seq
		}
	}
	return 0
}

// Undo is the old template again: its set comes back with a new revision.
func TestUndo(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(2, 1, 1))
	c.serve()
	for i := 2; i <= 3; i++ {
		c.setImage("web:" + strconv.Itoa(i))
		c.serve()
	}
	uid := c.sets()["web:1"].UID
	request := c.edit(events.DeploymentRolledBack, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:1" })
	c.serve()
	s := c.sets()["web:1"]
	if s.UID != uid || *s.Spec.Replicas != 2 || len(c.sets()) != 3 {
		t.Fatalf("sizes %v", c.sizes())
	}
	if s.Annotations["deployment.kubernetes.io/revision"] != "4" || s.Annotations["deployment.kubernetes.io/revision-history"] != "1" {
		t.Errorf("annotations %v", s.Annotations)
	}
	if c.deployment().Annotations["deployment.kubernetes.io/revision"] != "4" {
		t.Errorf("annotations of the deployment %v", c.deployment().Annotations)
	}
	for _, r := range c.Log()[request.Seq:] {
		if r.Type == events.ReplicaSetRevised && r.CauseAt == request.Seq {
			return
		}
	}
	t.Errorf("nothing revised because of the request:\n%s", reconcilertest.Render(c.Log()[request.Seq-1:]))
}

func TestRecreate(t *testing.T) {
	c := newCluster(t)
	d := newDeployment(3, 0, 0)
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	c.Create(webKey, d)
	c.serve()
	c.Watch = func(w *projections.World, _ events.Recorded) {
		images := map[string]bool{}
		for pod := range w.List(projections.Pods, "shop") {
			images[projections.As[*corev1.Pod](pod).Spec.Containers[0].Image] = true
		}
		if len(images) > 1 {
			t.Errorf("pods of several revisions at once: %v", images)
		}
	}
	c.setImage("web:2")
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 0, "web:2": 3})
	c.scale(5)
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 0, "web:2": 5})
}

func TestPaused(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(2, 1, 0))
	c.serve()
	c.edit(events.DeploymentPaused, func(d *appsv1.Deployment) { d.Spec.Paused = true })
	c.setImage("web:2")
	c.serve()
	if len(c.sets()) != 1 {
		t.Fatalf("rolled out while paused: %v", c.sizes())
	}
	c.scale(4)
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 4})
	c.edit(events.DeploymentResumed, func(d *appsv1.Deployment) { d.Spec.Paused = false })
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 0, "web:2": 4})
}

// A deployment that is scaled in the middle of a rollout spreads the difference
// over its sets; the example is the one in the Kubernetes documentation: 10 pods,
// surge 3, unavailable 2, a broken image, scaled to 15.
func TestScaledInTheMiddle(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(10, 3, 2))
	c.serve()
	c.setImage("broken")
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 8, "broken": 5})
	c.scale(15)
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 11, "broken": 7})
	c.scale(5)
	c.serve()
	if got := c.sizes(); got["web:1"]+got["broken"] > 8 || got["web:1"] < 3 {
		t.Errorf("sizes after shrinking %v", got)
	}
	c.setImage("web:1")
	c.serve()
	c.wantSizes(map[string]int32{"web:1": 5, "broken": 0})
}

func TestHistoryLimit(t *testing.T) {
	c := newCluster(t)
	d := newDeployment(1, 1, 0)
	limit := int32(2)
	d.Spec.RevisionHistoryLimit = &limit
	c.Create(webKey, d)
	c.serve()
	for i := 2; i <= 5; i++ {
		c.setImage("web:" + strconv.Itoa(i))
		c.serve()
	}
	if got := c.sizes(); len(got) != 3 || got["web:5"] != 1 {
		t.Errorf("sets left: %v", got)
	}
	if _, ok := c.sizes()["web:2"]; ok {
		t.Errorf("an old set stayed: %v", c.sizes())
	}
}

func TestFollowsSettings(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(1, 1, 0))
	c.serve()
	c.edit(events.TypeOf("deployment", events.FactSpecChanged), func(d *appsv1.Deployment) {
		d.Spec.MinReadySeconds = 7
		d.Annotations["kubernetes.io/change-cause"] = "because"
	})
	c.serve()
	s := c.sets()["web:1"]
	if s.Spec.MinReadySeconds != 7 || s.Annotations["kubernetes.io/change-cause"] != "because" || s.Generation != 2 {
		t.Errorf("generation %d, spec %+v, annotations %v", s.Generation, s.Spec.MinReadySeconds, s.Annotations)
	}
	if len(c.sets()) != 1 {
		t.Errorf("sets %v", c.sizes())
	}
}

func TestAdoptsAndReleases(t *testing.T) {
	c := newCluster(t)
	set := func(app string) *appsv1.ReplicaSet {
		d := newDeployment(1, 1, 0)
		labels := map[string]string{"app": app, "pod-template-hash": "given"}
		s := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
		s.Spec.Replicas, s.Spec.Template = d.Spec.Replicas, d.Spec.Template
		s.Spec.Template.Labels = labels
		s.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		return s
	}
	c.Create(setKey("orphan"), set("web"))
	c.Create(setKey("stranger"), set("db"))
	o := c.Create(webKey, newDeployment(2, 1, 0))
	c.serve()
	if ref := c.Object(setKey("orphan")).Controller(); ref == nil || ref.UID != o.UID() {
		t.Fatalf("owner of the orphan: %v", ref)
	}
	if ref := c.Object(setKey("stranger")).Controller(); ref != nil {
		t.Errorf("owner of the stranger: %v", ref)
	}
	c.wantSizes(map[string]int32{"web:1": 2})
	if len(c.sets()) != 1 {
		t.Errorf("sets %v", c.sizes())
	}
	reconcilertest.Edit(c.Cluster, setKey("orphan"), events.TypeOf("replicaset", events.FactMetadataChanged), func(s *appsv1.ReplicaSet) { s.Labels["app"] = "db" })
	c.serve()
	if ref := c.Object(setKey("orphan")).Controller(); ref != nil {
		t.Errorf("not released: %v", ref)
	}
	if got := c.sizes(); got["web:1"] != 2 {
		t.Errorf("sizes %v", got)
	}
}

// A name that somebody else has is not waited for.
func TestTakenName(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(1, 1, 0))
	c.settle()
	name := c.sets()["web:1"].Name
	c = newCluster(t)
	s := &appsv1.ReplicaSet{Spec: appsv1.ReplicaSetSpec{Replicas: new(int32), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}}
	c.Create(setKey(name), s)
	c.Create(webKey, newDeployment(1, 1, 0))
	c.serve()
	got := c.sets()["web:1"]
	if got == nil || got.Name == name || got.Name != "web-"+got.Labels["pod-template-hash"] || *got.Spec.Replicas != 1 {
		t.Errorf("set %+v", got)
	}
}

func TestDoesNothingWhileDeleted(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(1, 1, 0))
	c.serve()
	c.RequestDeletion(webKey, metav1.FinalizerDeleteDependents)
	c.setImage("web:2")
	before := len(c.Log())
	c.settle()
	if len(c.Log()) != before {
		t.Errorf("did\n%s", reconcilertest.Render(c.Log()[before:]))
	}
}

// A set somebody deleted is made again, with another uid.
func TestSetIsDeleted(t *testing.T) {
	c := newCluster(t)
	c.Create(webKey, newDeployment(2, 1, 0))
	c.serve()
	old := c.sets()["web:1"]
	c.Delete(setKey(old.Name))
	c.serve()
	s := c.sets()["web:1"]
	if s == nil || s.UID == old.UID || s.Name != old.Name || *s.Spec.Replicas != 2 {
		t.Errorf("set %+v", s)
	}
	if pods := c.Pods("shop", s.UID); len(pods) != 2 || !slices.ContainsFunc(pods, func(o *projections.Object) bool { return o.UID() != "" }) {
		t.Errorf("%d pods", len(pods))
	}
}
