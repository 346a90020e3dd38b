package kubeapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
)

func onePod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
}

func oneDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "nginx:1"}}
	return d
}

func oneMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: map[string]string{"k": "v"}}
}

func stateOf(t *testing.T, r events.Recorded) events.State {
	t.Helper()
	s, err := events.Decode[events.State](r)
	must(t, err)
	return s
}

func TestWhatIsRecordedOfADeployment(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	api := c.client.AppsV1().Deployments("default")
	made, err := api.Create(ctx, oneDeployment("web"), metav1.CreateOptions{})
	must(t, err)
	const key = "apps/deployments/default/web"
	first := c.last(t, key)
	if s := stateOf(t, first); first.Type.Short() != "deployment.created" || first.Actor != "user:admin" || first.Cause != "" ||
		first.Change != first.ID || first.Source != events.DoorSource || s.UID != string(made.UID) || s.Previous != 0 || len(s.Changed) != 0 ||
		!bytes.Contains(s.Object, []byte(`"kind":"Deployment"`)) || bytes.Contains(s.Object, []byte(`"status"`)) || bytes.Contains(s.Object, []byte(`"resourceVersion"`)) {
		t.Errorf("first event %+v %s", first, first.Data)
	}
	step := func(want string, paths ...string) events.Recorded {
		t.Helper()
		r := c.last(t, key)
		s := stateOf(t, r)
		if r.Type.Short() != want || !slices.Equal(s.Changed, paths) {
			t.Errorf("event %s changed %q, want %s %q", r.Type.Short(), s.Changed, want, paths)
		}
		return r
	}
	patch := func(kind types.PatchType, body string, sub ...string) {
		t.Helper()
		_, err := api.Patch(ctx, "web", kind, []byte(body), metav1.PatchOptions{FieldManager: "test"}, sub...)
		must(t, err)
	}
	scale, err := api.GetScale(ctx, "web", metav1.GetOptions{})
	must(t, err)
	scale.Spec.Replicas = 3
	_, err = api.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{})
	must(t, err)
	if r := step("deployment.scaled", "spec.replicas"); stateOf(t, r).Previous != first.Seq {
		t.Errorf("previous is %d, want %d", stateOf(t, r).Previous, first.Seq)
	}
	patch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}}}`)
	step("deployment.template-changed", "spec.template.spec.containers[0].image")
	patch(types.MergePatchType, `{"spec":{"paused":true}}`)
	step("deployment.paused", "spec.paused")
	patch(types.JSONPatchType, `[{"op":"remove","path":"/spec/paused"}]`)
	step("deployment.resumed", "spec.paused")
	patch(types.MergePatchType, `{"metadata":{"annotations":{"kubernetes.io/change-cause":"ticket 7"}}}`)
	if r := step("deployment.metadata-changed", "metadata.annotations"); r.Reason != "ticket 7" {
		t.Errorf("reason %q", r.Reason)
	}
	patch(types.ApplyPatchType, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"a":"b"}}}`)
	step("deployment.metadata-changed", "metadata.labels")
	before := c.last(t, key).Seq
	patch(types.StrategicMergePatchType, `{"metadata":{"labels":{"a":"b"}}}`)
	if r := c.last(t, key); r.Seq != before {
		t.Errorf("a patch that changes nothing was recorded as %s", r.Type)
	}
	patch(types.MergePatchType, `{"status":{"replicas":9}}`, "status")
	observed, ok, err := c.log.Last(ctx, first.Subject.Key.Observed(""))
	must(t, err)
	if !ok || observed.Type.Short() != "deployment.status-reported" || !strings.Contains(string(observed.Data), `"changed":["status.`) {
		t.Errorf("status: %v %s %s", ok, observed.Type, observed.Data)
	}
	must(t, api.Delete(ctx, "web", metav1.DeleteOptions{}))
	if r := c.last(t, key); r.Type.Short() != "deployment.deleted" || stateOf(t, r).UID != string(made.UID) || stateOf(t, r).Object != nil {
		t.Errorf("last event %s %s", r.Type, r.Data)
	}
	again, err := api.Create(ctx, oneDeployment("web"), metav1.CreateOptions{})
	must(t, err)
	if again.UID == made.UID {
		t.Error("the name is used again with the same uid")
	}
}

func TestReasonAndTraceOfARequest(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	body, err := json.Marshal(oneMap("a"))
	must(t, err)
	must(t, c.client.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").SetHeader(ReasonHeader, "because").
		SetHeader("traceparent", parent).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error())
	if r := c.last(t, "core/configmaps/default/a"); r.Reason != "because" || r.Trace != parent {
		t.Errorf("reason %q, trace %q", r.Reason, r.Trace)
	}
}

func TestGenerationAndStatusAreSeparate(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	api := c.client.AppsV1().Deployments("default")
	d, err := api.Create(t.Context(), oneDeployment("web"), metav1.CreateOptions{})
	must(t, err)
	d.Status.Replicas = 7
	d.Labels = map[string]string{"a": "b"}
	d, err = api.Update(t.Context(), d, metav1.UpdateOptions{})
	must(t, err)
	if d.Generation != 1 || d.Status.Replicas != 0 || d.Labels["a"] != "b" {
		t.Errorf("after a change of labels and status: %+v", d)
	}
	n := int32(5)
	d.Spec.Replicas = &n
	d, err = api.Update(t.Context(), d, metav1.UpdateOptions{})
	must(t, err)
	if d.Generation != 2 {
		t.Errorf("generation %d after a change of the spec", d.Generation)
	}
	d.Spec.Paused = true
	d, err = api.UpdateStatus(t.Context(), d, metav1.UpdateOptions{})
	must(t, err)
	if d.Spec.Paused || d.Generation != 2 {
		t.Errorf("an update of the status changed the spec: %+v", d.Spec)
	}
}

func TestPodsGoGracefully(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	pods := c.client.CoreV1().Pods("default")
	_, err := pods.Create(ctx, onePod("waiting"), metav1.CreateOptions{})
	must(t, err)
	must(t, pods.Delete(ctx, "waiting", metav1.DeleteOptions{}))
	if _, err := pods.Get(ctx, "waiting", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a pod on no node is still there: %v", err)
	}
	_, err = pods.Create(ctx, onePod("bound"), metav1.CreateOptions{})
	must(t, err)
	bind := func() error {
		return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "bound"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{})
	}
	must(t, bind())
	if r := c.last(t, "core/pods/default/bound"); r.Type != events.PodBound {
		t.Errorf("binding is %s", r.Type)
	}
	if err := bind(); !apierrors.IsConflict(err) {
		t.Errorf("second binding: %v", err)
	}
	must(t, pods.Delete(ctx, "bound", metav1.DeleteOptions{}))
	p, err := pods.Get(ctx, "bound", metav1.GetOptions{})
	must(t, err)
	if p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 || p.Generation != 3 {
		t.Errorf("metadata %+v", p.ObjectMeta)
	}
	if r := c.last(t, "core/pods/default/bound"); r.Type.Short() != "pod.deletion-requested" {
		t.Errorf("event %s", r.Type)
	}
	zero := int64(0)
	must(t, pods.Delete(ctx, "bound", metav1.DeleteOptions{GracePeriodSeconds: &zero}))
	if _, err := pods.Get(ctx, "bound", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
	_, err = pods.Create(ctx, onePod("evicted"), metav1.CreateOptions{})
	must(t, err)
	must(t, pods.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "evicted"}}))
	if r := c.last(t, "core/pods/default/evicted"); r.Type.Short() != "pod.deleted" {
		t.Errorf("event %s", r.Type)
	}
}

func TestFinalizersAndPropagation(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	m := oneMap("held")
	m.Finalizers = []string{"example.org/hold"}
	_, err := maps.Create(ctx, m, metav1.CreateOptions{})
	must(t, err)
	stale := types.UID("other")
	if err := maps.Delete(ctx, "held", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &stale}}); !apierrors.IsConflict(err) {
		t.Errorf("wrong uid: %v", err)
	}
	must(t, maps.Delete(ctx, "held", metav1.DeleteOptions{}))
	m, err = maps.Get(ctx, "held", metav1.GetOptions{})
	must(t, err)
	if m.DeletionTimestamp == nil {
		t.Error("not marked")
	}
	m.Finalizers = nil
	_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	must(t, err)
	if r := c.last(t, "core/configmaps/default/held"); r.Type.Short() != "configmap.deleted" {
		t.Errorf("event %s", r.Type)
	}
	for policy, finalizer := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents,
	} {
		name := strings.ToLower(string(policy))
		_, err := maps.Create(ctx, oneMap(name), metav1.CreateOptions{})
		must(t, err)
		must(t, maps.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}))
		m, err := maps.Get(ctx, name, metav1.GetOptions{})
		must(t, err)
		if !slices.Contains(m.Finalizers, finalizer) || m.DeletionTimestamp == nil {
			t.Errorf("%s: %+v", policy, m.ObjectMeta)
		}
	}
}

func TestNamespacesWaitForTheirContent(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	api := c.client.CoreV1().Namespaces()
	_, err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-"}}, metav1.CreateOptions{})
	must(t, err)
	list, err := api.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name!=default"})
	must(t, err)
	n := list.Items[0]
	if n.Labels[corev1.LabelMetadataName] != n.Name || n.Status.Phase != corev1.NamespaceActive || len(n.Spec.Finalizers) != 1 {
		t.Errorf("namespace %+v", n)
	}
	must(t, api.Delete(ctx, n.Name, metav1.DeleteOptions{}))
	must(t, api.Delete(ctx, n.Name, metav1.DeleteOptions{}))
	got, err := api.Get(ctx, n.Name, metav1.GetOptions{})
	must(t, err)
	if got.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("phase %s", got.Status.Phase)
	}
	m := oneMap("late")
	m.Namespace = n.Name
	_, err = c.client.CoreV1().ConfigMaps(n.Name).Create(ctx, m, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("content in a namespace that goes: %v", err)
	}
	if err := api.Delete(ctx, "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("default: %v", err)
	}
	got.Spec.Finalizers = nil
	_, err = api.Finalize(ctx, got, metav1.UpdateOptions{})
	must(t, err)
	if _, err := api.Get(ctx, n.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("finalized, but %v", err)
	}
}

func TestSecretsAreSealedInTheLogOnly(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	api := c.client.CoreV1().Secrets("default")
	const plain, applied = "hunter2hunter2", "aHVudGVyMmh1bnRlcjI="
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "db", Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: applied}}, StringData: map[string]string{"password": plain}}
	w, err := api.Watch(ctx, metav1.ListOptions{})
	must(t, err)
	defer w.Stop()
	s, err = api.Create(ctx, s, metav1.CreateOptions{})
	must(t, err)
	if string(s.Data["password"]) != plain || len(s.StringData) > 0 || s.Type != corev1.SecretTypeOpaque {
		t.Errorf("created %+v", s)
	}
	s.Labels = map[string]string{"a": "b"}
	_, err = api.Update(ctx, s, metav1.UpdateOptions{})
	must(t, err)
	r := c.last(t, "core/secrets/default/db")
	if got := stateOf(t, r).Changed; !slices.Equal(got, []string{"metadata.labels"}) {
		t.Errorf("changed %q: sealing anew is no change", got)
	}
	_, err = api.Patch(ctx, "db", types.MergePatchType, []byte(`{"data":{"password":"eA=="}}`), metav1.PatchOptions{})
	must(t, err)
	if r := c.last(t, "core/secrets/default/db"); r.Type.Short() != "secret.data-changed" || !slices.Equal(stateOf(t, r).Changed, []string{"data.password"}) {
		t.Errorf("event %s %q", r.Type, stateOf(t, r).Changed)
	}
	for range 3 {
		if got, ok := (<-w.ResultChan()).Object.(*corev1.Secret); !ok || bytes.HasPrefix(got.Data["password"], []byte("pp1")) {
			t.Errorf("watched %v", got)
		}
	}
	list, err := api.List(ctx, metav1.ListOptions{FieldSelector: "type=Opaque"})
	must(t, err)
	if len(list.Items) != 1 || string(list.Items[0].Data["password"]) != "x" || list.Items[0].Annotations[corev1.LastAppliedConfigAnnotation] != applied {
		t.Errorf("list %+v", list.Items)
	}
	head, err := c.log.Head(ctx)
	must(t, err)
	end := errors.New("end")
	err = c.log.Read(ctx, 1, func(r events.Recorded, _ uint64) error {
		if bytes.Contains(r.Data, []byte(plain)) || bytes.Contains(r.Data, []byte(applied)) {
			t.Errorf("event %d holds the secret: %s", r.Seq, r.Data)
		}
		if r.Seq == head {
			return end
		}
		return nil
	})
	if !errors.Is(err, end) {
		t.Error(err)
	}
}

func TestDryRunRecordsNothing(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	dry := []string{metav1.DryRunAll}
	_, err := c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{})
	must(t, err)
	before, err := c.log.Head(ctx)
	must(t, err)
	pods := c.client.CoreV1().Pods("default")
	p, err := pods.Create(ctx, onePod("web"), metav1.CreateOptions{DryRun: dry})
	must(t, err)
	if p.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		t.Error("not defaulted")
	}
	_, err = pods.Patch(ctx, "web", types.ApplyPatchType, []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"a","image":"b"}]}}`), metav1.PatchOptions{DryRun: dry, FieldManager: "x"})
	must(t, err)
	must(t, c.client.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{DryRun: dry}))
	if after, err := c.log.Head(ctx); err != nil || after != before {
		t.Errorf("head %d, was %d, error %v", after, before, err)
	}
}

// The log's answer is lost for every third append: nothing is lost or doubled.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	c := start(t, func(_ *Config, l *memlog.Config) {
		l.Lose = func([]events.Proposal) error {
			if n.Add(1)%3 == 0 {
				return errors.New("connection lost")
			}
			return nil
		}
	})
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	for i := range 12 {
		m, err := maps.Create(ctx, oneMap(fmt.Sprintf("m%d", i)), metav1.CreateOptions{})
		must(t, err)
		m.Data["k"] = "w"
		_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
		must(t, err)
	}
	seen := map[string]int{}
	head, err := c.log.Head(ctx)
	must(t, err)
	end := errors.New("end")
	err = c.log.Read(ctx, 1, func(r events.Recorded, _ uint64) error {
		seen[r.Subject.Key.Name+" "+r.Type.Fact()]++
		if r.Seq == head {
			return end
		}
		return nil
	})
	if !errors.Is(err, end) {
		t.Error(err)
	}
	for i := range 12 {
		for _, fact := range []string{"created", "data-changed"} {
			if k := fmt.Sprintf("m%d %s", i, fact); seen[k] != 1 {
				t.Errorf("%s: recorded %d times", k, seen[k])
			}
		}
	}
}

func TestRefusalsOfTheLog(t *testing.T) {
	t.Parallel()
	var refuse atomic.Pointer[error]
	c := start(t, func(_ *Config, l *memlog.Config) {
		l.Fail = func([]events.Proposal) error {
			if err := refuse.Load(); err != nil {
				return *err
			}
			return nil
		}
	})
	maps := c.client.CoreV1().ConfigMaps("default")
	create := func(m *corev1.ConfigMap) error {
		body, err := json.Marshal(m)
		must(t, err)
		return c.client.CoreV1().RESTClient().Post().Namespace("default").Resource("configmaps").MaxRetries(0).
			SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
	}
	temporary := fmt.Errorf("no leader: %w", events.ErrTemporary)
	refuse.Store(&temporary)
	err := create(oneMap("a"))
	var status apierrors.APIStatus
	if !apierrors.IsServiceUnavailable(err) || !errors.As(err, &status) || status.Status().Details.RetryAfterSeconds == 0 {
		t.Errorf("temporary: %v", err)
	}
	refuse.Store(nil)
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("half done: %v", err)
	}
	big := oneMap("big")
	big.Data["k"] = strings.Repeat("x", events.MaxDataBytes)
	if err := create(big); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("too large: %v", err)
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	m := oneMap("shared")
	m.Data = map[string]string{}
	_, err := maps.Create(ctx, m, metav1.CreateOptions{})
	must(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { // patches need no version: the server decides anew
			_, err := maps.Patch(ctx, "shared", types.MergePatchType, fmt.Appendf(nil, `{"data":{"p%d":"x"}}`, i), metav1.PatchOptions{})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() { // a read-modify-write is refused when it is stale
			err := retry.RetryOnConflict(retry.DefaultBackoff, func() error { return addKey(ctx, c, fmt.Sprintf("u%d", i)) })
			if err != nil && !apierrors.IsConflict(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	m, err = maps.Get(ctx, "shared", metav1.GetOptions{})
	must(t, err)
	for i := range 8 {
		if m.Data[fmt.Sprintf("p%d", i)] != "x" {
			t.Errorf("patch %d is lost: %v", i, m.Data)
		}
	}
}

func addKey(ctx context.Context, c *cluster, key string) error {
	maps := c.client.CoreV1().ConfigMaps("default")
	m, err := maps.Get(ctx, "shared", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if m.Data == nil {
		m.Data = map[string]string{}
	}
	m.Data[key] = "x"
	_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	return err
}
