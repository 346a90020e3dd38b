package logstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"
	"pgregory.net/rapid"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
)

// rig is a store of config maps on the log in memory.
type rig struct {
	*Store
	log   *memlog.Log
	world *projections.Projection
}

func newRig(t interface {
	Fatal(...any)
	Cleanup(func())
}, cfg memlog.Config,
) *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{log: memlog.New(cfg), world: projections.NewProjection(0)}
	n := 0
	id := func() string { n++; return fmt.Sprintf("id-%d", n) }
	key := events.Key{Group: "periplus.dev", Resource: "clusters", Name: "cluster"}
	first := events.New(key.Wanted(), 0, events.ClusterInitialized, events.Ref{}, events.State{
		UID: "u", Object: json.RawMessage(`{"apiVersion":"periplus.dev/v1","kind":"Cluster","metadata":{"name":"cluster","uid":"u"}}`),
	})
	first.ID, first.Time, first.Actor, first.Source, first.Change = "genesis", time.Now(), "user:t", events.DoorSource, "genesis"
	if _, err := r.log.Append(ctx, first); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		done <- r.log.Read(ctx, 1, func(e events.Recorded, head uint64) error { r.world.Fold(e, head); return nil })
	}()
	t.Cleanup(func() { cancel(); <-done })
	r.Store = New(Config{
		Resource: schema.GroupResource{Resource: "configmaps"}, Kind: "configmap", Prefix: "/core/configmaps",
		New: func() runtime.Object { return &corev1.ConfigMap{} }, World: r.world, Log: r.log, Now: time.Now, NewID: id,
	})
	return r
}

func (r *rig) create(ctx context.Context, ns, name string) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: "u"}}
	return r.Create(ctx, r.keyString(events.Key{Namespace: ns, Name: name}), m, &corev1.ConfigMap{}, 0)
}

func (r *rig) remove(ctx context.Context, ns, name string) error {
	return r.Delete(ctx, r.keyString(events.Key{Namespace: ns, Name: name}), &corev1.ConfigMap{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
}

// A list at a sequence, read any time later, is what a list was then, also page
// by page.
func TestListsOfThePast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		r := newRig(t, memlog.Config{})
		then := map[string][]string{}
		list := func(version string, limit int64, token string) ([]string, metav1.ListMeta) {
			out := &corev1.ConfigMapList{}
			o := storage.ListOptions{Recursive: true, Predicate: storage.Everything}
			o.Predicate.Limit, o.Predicate.Continue = limit, token
			if version != "" {
				o.ResourceVersion, o.ResourceVersionMatch = version, metav1.ResourceVersionMatchExact
			}
			if err := r.GetList(ctx, "/core/configmaps", o, out); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, m := range out.Items {
				names = append(names, m.Namespace+"/"+m.Name+"@"+m.ResourceVersion)
			}
			return names, out.ListMeta
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			ns := rapid.SampledFrom([]string{"a", "a-b", "b"}).Draw(t, "namespace")
			name := rapid.SampledFrom([]string{"x", "x-y", "z"}).Draw(t, "name")
			if err := r.create(ctx, ns, name); storage.IsExist(err) {
				if err := r.remove(ctx, ns, name); err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			names, m := list("", 0, "")
			then[m.ResourceVersion] = names
		}
		for version, want := range then {
			got, m := list(version, 0, "")
			if !slices.Equal(got, want) || m.ResourceVersion != version {
				t.Fatalf("at %s: %q, want %q", version, got, want)
			}
		}
		var paged []string
		token := ""
		for {
			names, m := list("", 2, token)
			paged = append(paged, names...)
			if token = m.Continue; token == "" {
				break
			}
		}
		if whole, _ := list("", 0, ""); !slices.Equal(paged, whole) {
			t.Fatalf("page by page %q, at once %q", paged, whole)
		}
	})
}

// The answer to an append is lost, and somebody else appends to the same object
// before it is repeated: the request still learns that it was recorded.
func TestRecordedThoughOthersFollowed(t *testing.T) {
	var r *rig
	lost := false
	r = newRig(t, memlog.Config{Lose: func(ps []events.Proposal) error {
		if lost || ps[0].Type.Fact() != events.FactDataChanged {
			return nil
		}
		lost = true
		last, _, err := r.log.Last(context.Background(), ps[0].Subject)
		if err != nil {
			return err
		}
		p := events.Proposal{Event: last.Event, After: last.Seq}
		p.ID, p.Type = "other", events.TypeOf("configmap", events.FactMetadataChanged)
		_, err = r.log.Append(context.Background(), p)
		return errors.Join(errors.New("connection lost"), err)
	}})
	ctx := t.Context()
	if err := r.create(ctx, "a", "x"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	out := &corev1.ConfigMap{}
	err := r.GuaranteedUpdate(ctx, "/core/configmaps/a/x", out, false, nil, func(in runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		tries++
		m, _ := in.(*corev1.ConfigMap)
		m.Data = map[string]string{"k": "v"}
		return m, nil, nil
	}, nil)
	if err != nil || tries != 1 || out.Data["k"] != "v" || out.ResourceVersion != "3" {
		t.Errorf("error %v after %d tries: %+v", err, tries, out)
	}
}

func TestTheRequestEndsWhileTheOutcomeIsUnknown(t *testing.T) {
	r := newRig(t, memlog.Config{Lose: func(ps []events.Proposal) error {
		if ps[0].Type.Fact() == events.FactCreated {
			return errors.New("connection lost")
		}
		return nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.create(ctx, "a", "x"); !apierrors.IsTimeout(err) {
		t.Errorf("error %v", err)
	}
}

func TestRequestsOfTheSystemHaveACause(t *testing.T) {
	r := newRig(t, memlog.Config{})
	ctx := request.WithUser(t.Context(), &user.DefaultInfo{Name: "system:node:n1"})
	if err := r.create(ctx, "a", "x"); err != nil {
		t.Fatal(err)
	}
	last, _, err := r.log.Last(ctx, events.Key{Resource: "configmaps", Namespace: "a", Name: "x"}.Wanted())
	if err != nil || last.Actor != "node:n1" || last.Cause != "genesis" || last.CauseAt != 1 {
		t.Errorf("event %+v, error %v", last.Event, err)
	}
}

func TestKeys(t *testing.T) {
	r := newRig(t, memlog.Config{})
	for key, want := range map[string]string{"/core/configmaps/a/x": "core/configmaps/a/x", "/core/configmaps/x": "core/configmaps/_/x", "/core/other/x": "", "/core/configmaps/": ""} {
		k, err := r.key(key)
		if (err == nil) != (want != "") || err == nil && k.String() != want {
			t.Errorf("%s: %s, %v", key, k, err)
		}
	}
	if _, err := r.scope("/core/configmaps/a/b/c", true); err == nil {
		t.Error("a prefix below a name was accepted")
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	r := newRig(t, memlog.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := r.Watch(ctx, "/core/configmaps", storage.ListOptions{Recursive: true, Predicate: storage.Everything})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range w.ResultChan() {
		t.Error("something came")
	}
}
