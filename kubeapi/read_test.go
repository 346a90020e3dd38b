package kubeapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"periplus.dev/events"
)

func names(list *corev1.ConfigMapList) []string {
	var out []string
	for _, m := range list.Items {
		out = append(out, m.Name)
	}
	return out
}

// The pages of a list show one state, whatever happens between them.
func TestPagesAreOneList(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	for i := range 5 {
		_, err := maps.Create(ctx, oneMap(fmt.Sprintf("m%d", i)), metav1.CreateOptions{})
		must(t, err)
	}
	first, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	must(t, err)
	if first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 {
		t.Errorf("first page %+v", first.ListMeta)
	}
	must(t, maps.Delete(ctx, "m3", metav1.DeleteOptions{}))
	_, err = maps.Create(ctx, oneMap("m20"), metav1.CreateOptions{})
	must(t, err)
	second, err := maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: first.Continue})
	must(t, err)
	third, err := maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: second.Continue})
	must(t, err)
	if got := slices.Concat(names(first), names(second), names(third)); !slices.Equal(got, []string{"m0", "m1", "m2", "m3", "m4"}) {
		t.Errorf("pages %q", got)
	}
	if second.ResourceVersion != first.ResourceVersion || third.Continue != "" {
		t.Errorf("pages at %s and %s", first.ResourceVersion, second.ResourceVersion)
	}
	exact, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact})
	must(t, err)
	if got := names(exact); len(got) != 5 {
		t.Errorf("exactly then: %q", got)
	}
	now, err := maps.List(ctx, metav1.ListOptions{})
	must(t, err)
	if got := names(now); !slices.Equal(got, []string{"m0", "m1", "m2", "m20", "m4"}) {
		t.Errorf("now: %q", got)
	}
	_, err = maps.List(ctx, metav1.ListOptions{Continue: "nonsense"})
	if !apierrors.IsBadRequest(err) {
		t.Errorf("bad token: %v", err)
	}
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	pods := c.client.CoreV1().Pods("default")
	for i, node := range []string{"", "n1", "n2"} {
		p := onePod(fmt.Sprintf("p%d", i))
		p.Labels["n"], p.Spec.NodeName = fmt.Sprint(i), node
		_, err := pods.Create(ctx, p, metav1.CreateOptions{})
		must(t, err)
	}
	for selector, want := range map[string]int{
		"spec.nodeName=n1": 1, "spec.nodeName=": 1, "spec.nodeName!=n1": 2, "metadata.name=p2": 1, "status.phase=Pending": 3,
		"status.phase!=Running,spec.restartPolicy=Always": 3, "metadata.namespace=other": 0,
	} {
		list, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: selector})
		must(t, err)
		if len(list.Items) != want {
			t.Errorf("%s: %d pods, want %d", selector, len(list.Items), want)
		}
	}
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=web,n in (1,2)"})
	must(t, err)
	if len(list.Items) != 2 {
		t.Errorf("%d pods by label", len(list.Items))
	}
	_, err = pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.foo=bar"})
	refused(t, err, 400, "field label not supported: spec.foo")
	must(t, pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "n=0"}))
	list, err = pods.List(ctx, metav1.ListOptions{})
	must(t, err)
	if len(list.Items) != 2 {
		t.Errorf("%d pods are left", len(list.Items))
	}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch ended")
		}
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
	return watch.Event{}
}

func TestWatchFollowsASelector(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	m, err := maps.Create(ctx, oneMap("a"), metav1.CreateOptions{})
	must(t, err)
	w, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "on=1", ResourceVersion: m.ResourceVersion})
	must(t, err)
	defer w.Stop()
	label := func(v string) string {
		m, err := maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"labels":{"on":"`+v+`"}}}`), metav1.PatchOptions{})
		must(t, err)
		return m.ResourceVersion
	}
	expect := func(kind watch.EventType, version string) {
		t.Helper()
		e := next(t, w)
		if got := e.Object.(*corev1.ConfigMap); e.Type != kind || got.ResourceVersion != version {
			t.Errorf("%s at %s, want %s at %s", e.Type, got.ResourceVersion, kind, version)
		}
	}
	expect2 := label("1")
	expect(watch.Added, expect2)
	m, err = maps.Patch(ctx, "a", types.MergePatchType, []byte(`{"data":{"z":"1"}}`), metav1.PatchOptions{})
	must(t, err)
	expect(watch.Modified, m.ResourceVersion)
	left := label("2")
	expect(watch.Deleted, left)
	back := label("1")
	expect(watch.Added, back)
	must(t, maps.Delete(ctx, "a", metav1.DeleteOptions{}))
	e := next(t, w)
	if e.Type != watch.Deleted || e.Object.(*corev1.ConfigMap).ResourceVersion != fmt.Sprint(c.last(t, "core/configmaps/default/a").Seq) {
		t.Errorf("at last %s %v", e.Type, e.Object)
	}
}

func TestWatchWithInitialEvents(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	_, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, oneMap("a"), metav1.CreateOptions{})
	must(t, err)
	yes := true
	w, err := c.client.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	must(t, err)
	defer w.Stop()
	if e := next(t, w); e.Type != watch.Added {
		t.Errorf("first %s", e.Type)
	}
	mark := next(t, w)
	m, ok := mark.Object.(*corev1.ConfigMap)
	if !ok || mark.Type != watch.Bookmark || m.Annotations[metav1.InitialEventsAnnotationKey] != "true" || m.ResourceVersion == "" {
		t.Errorf("then %+v", mark)
	}
	factory := informers.NewSharedInformerFactory(c.client, 0)
	informer := factory.Core().V1().ConfigMaps().Informer()
	stop := make(chan struct{})
	factory.Start(stop)
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			t.Errorf("%v does not sync", kind)
		}
	}
	if n := len(informer.GetStore().List()); n != 1 {
		t.Errorf("the informer has %d objects", n)
	}
	close(stop)
	factory.Shutdown()
}

func TestOldVersionsAreGone(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	maps := c.client.CoreV1().ConfigMaps("default")
	m, err := maps.Create(ctx, oneMap("a"), metav1.CreateOptions{})
	must(t, err)
	_, err = maps.Create(ctx, oneMap("b"), metav1.CreateOptions{})
	must(t, err)
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 1})
	must(t, err)
	churn(t, c, 2*window+2)
	if _, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: m.ResourceVersion}); !apierrors.IsResourceExpired(err) {
		t.Errorf("watch: %v", err)
	}
	if _, err := maps.List(ctx, metav1.ListOptions{Continue: page.Continue}); !apierrors.IsResourceExpired(err) {
		t.Errorf("page: %v", err)
	}
	future := fmt.Sprint(c.world.Current().Seq() + 1000)
	err = c.client.CoreV1().RESTClient().Get().Namespace("default").Resource("configmaps").Param("resourceVersion", future).MaxRetries(0).Do(ctx).Error()
	if !apierrors.IsTimeout(err) || !strings.Contains(err.Error(), "Too large resource version") {
		t.Errorf("future: %v", err)
	}
}

// churn records changes of one object past the door.
func churn(t *testing.T, c *cluster, n int) {
	t.Helper()
	r := c.last(t, "core/configmaps/default/a")
	after := r.Seq
	for range n {
		p := events.Proposal{Event: r.Event, After: after}
		p.ID, p.Type = newID(), events.TypeOf("configmap", events.FactMetadataChanged)
		p.Change = p.ID
		seqs, err := c.log.Append(t.Context(), p)
		must(t, err)
		after = seqs[0]
	}
	_, err := c.world.Await(t.Context(), after)
	must(t, err)
}

func TestLeasesStandInTheirOwnLog(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	before, err := c.log.Head(t.Context())
	must(t, err)
	holder := "n1"
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "n1", Namespace: "default"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}
	api := c.client.CoordinationV1().Leases("default")
	l, err = api.Create(t.Context(), l, metav1.CreateOptions{})
	must(t, err)
	now := metav1.NowMicro()
	l.Spec.RenewTime = &now
	_, err = api.Update(t.Context(), l, metav1.UpdateOptions{})
	must(t, err)
	l.ResourceVersion = ""
	if _, err = api.Update(t.Context(), l, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("update without a version: %v", err)
	}
	if after, err := c.log.Head(t.Context()); err != nil || after != before {
		t.Errorf("head %d, was %d, error %v", after, before, err)
	}
}

func TestKubernetesEventsInBothVersions(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	pod, err := c.client.CoreV1().Pods("default").Create(ctx, onePod("web"), metav1.CreateOptions{})
	must(t, err)
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Namespace: "default"}, Reason: "Noted", Message: "by hand", Type: "Normal",
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web", UID: pod.UID}}
	e, err = c.client.CoreV1().Events("default").Create(ctx, e, metav1.CreateOptions{})
	must(t, err)
	scheduled := events.New(events.Key{Resource: "pods", Namespace: "default", Name: "web"}.Wanted(), c.last(t, "core/pods/default/web").Seq,
		events.PodScheduled, c.last(t, "core/pods/default/web").Ref(), events.Scheduled{UID: string(pod.UID), Node: "n1"})
	scheduled.Source, scheduled.Actor = events.ReconcilerSource("scheduler"), "reconciler:scheduler"
	c.record(t, scheduled)
	list, err := c.client.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID) + ",involvedObject.name=web"})
	must(t, err)
	if len(list.Items) != 2 {
		t.Fatalf("events %+v", list.Items)
	}
	v1, err := c.client.EventsV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=web,reason=Noted"})
	must(t, err)
	if len(v1.Items) != 1 || v1.Items[0].Note != "by hand" || v1.Items[0].Regarding.UID != pod.UID {
		t.Errorf("events.k8s.io %+v", v1.Items)
	}
	for _, item := range list.Items {
		err := c.client.CoreV1().Events("default").Delete(ctx, item.Name, metav1.DeleteOptions{})
		if own := item.Name == e.Name; own && err != nil || !own && !apierrors.IsForbidden(err) {
			t.Errorf("delete %s: %v", item.Name, err)
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	_, err := c.client.CoreV1().Pods("default").Create(ctx, onePod("web"), metav1.CreateOptions{})
	must(t, err)
	cfg := rest.CopyConfig(c.config)
	cfg.AcceptContentTypes = "application/json;as=Table;v=v1;g=meta.k8s.io"
	cfg.ContentType = "application/json"
	client, err := kubernetes.NewForConfig(cfg)
	must(t, err)
	body, err := client.CoreV1().RESTClient().Get().Namespace("default").Resource("pods").SetHeader("Accept", cfg.AcceptContentTypes).DoRaw(ctx)
	must(t, err)
	for _, want := range []string{`"kind":"Table"`, `"name":"Ready"`, `"name":"Nominated Node"`, `["web","0/1","Pending","0"`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("the table lacks %s", want)
		}
	}
}
