package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/history/serve"
	"periplus.dev/projections"
	"periplus.dev/snapshots"
)

// newRefolder is as much of a cluster as folds its log: three events, and the
// World that they make after change has been at each.
func newRefolder(t *testing.T, change func([]byte) []byte) (*Cluster, *observer.ObservedLogs) {
	t.Helper()
	log := memlog.New(memlog.Config{})
	if err := controlplane.Initialize(t.Context(), log, time.Now(), func() string { return "id" }, "user:test"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		k := events.Key{Resource: "configmaps", Namespace: "shop", Name: name}
		p := events.New(k.Wanted(), 0, events.TypeOf("configmap", events.FactCreated), events.Ref{}, events.State{
			Object: json.RawMessage(`{"metadata":{"name":"` + name + `","namespace":"shop","uid":"uid-` + name + `"},"data":{"k":"old"}}`), UID: "uid-" + name,
		})
		p.ID, p.Time, p.Source, p.Actor, p.Change = name, time.Now(), events.DoorSource, "user:test", name
		if _, err := log.Append(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	enough, w := errors.New("enough"), projections.Empty()
	err := log.Read(t.Context(), 1, func(r events.Recorded, head uint64) error {
		r.Data = change(bytes.Clone(r.Data))
		if w, _ = w.Fold(r); r.Seq == head {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	store, err := snapshots.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	core, told := observer.New(zap.InfoLevel)
	return &Cluster{
		cfg:   Config{Log: log, Snapshots: store, Version: "v9", Logger: zap.New(core)},
		world: projections.ProjectionFrom(w, 0), verifying: make(chan struct{}, 1),
	}, told
}

func same(raw []byte) []byte { return raw }

// planted is a difference that a fold of the log does not have.
func planted(raw []byte) []byte { return bytes.Replace(raw, []byte("old"), []byte("new"), 1) }

func (c *Cluster) ask(t *testing.T, method, target string) (status int, body []byte) {
	t.Helper()
	handlers := map[string]http.Handler{
		VerifyPath: c.refolding(http.MethodGet, c.verify), RebuildPath: c.refolding(http.MethodPost, c.rebuild),
	}
	path, _, _ := strings.Cut(target, "?")
	w := httptest.NewRecorder()
	handlers[path].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	if w.Header().Get(serve.HeaderVersion) != "v9" {
		t.Errorf("%s %s: no version in the header", method, target)
	}
	body, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, body
}

func decoded[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return v
}

// loaded is what the next start would begin with.
func (c *Cluster) loaded(t *testing.T) *projections.World {
	t.Helper()
	w, err := LoadWorld(t.Context(), c.cfg.Snapshots, c.cfg.Log, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestVerifyFindsNothing(t *testing.T) {
	c, _ := newRefolder(t, same)
	status, body := c.ask(t, http.MethodGet, VerifyPath+"?follow=true")
	r := decoded[controlplane.Report](t, body)
	if status != http.StatusOK || !r.OK || r.From != 1 || r.To != 3 || r.FirstDifference != nil || !bytes.Contains(body, []byte(`"firstDifference":null`)) {
		t.Errorf("%d %s", status, body)
	}
	status, body = c.ask(t, http.MethodPost, RebuildPath+"?follow=true")
	if a := decoded[RebuildAnswer](t, body); status != http.StatusOK || !a.OK || a.Snapshot != 3 {
		t.Errorf("%d %s", status, body)
	}
	if w := c.loaded(t); w.Seq() != 3 {
		t.Errorf("the next start begins at %d", w.Seq())
	}
}

// A World that is not what the log says is named, is handed on to nobody, and is
// put right by a rebuild and a start.
func TestVerifyFindsAPlantedDifference(t *testing.T) {
	c, told := newRefolder(t, planted)
	if err := c.cfg.Snapshots.Save(c.world.Current()); err != nil {
		t.Fatal(err)
	}
	_, body := c.ask(t, http.MethodGet, VerifyPath+"?follow=true")
	r := decoded[controlplane.Report](t, body)
	d := r.FirstDifference
	if r.OK || r.Refolded == "" || r.Refolded == r.Hash || d == nil || fmt.Sprint(*d) != "{contents core/configmaps/shop/a 2 [data.k]}" {
		t.Errorf("%s", body)
	}
	if said := told.FilterMessage("the World is not what the log folds to").All(); len(said) != 1 || said[0].Level != zap.ErrorLevel {
		t.Errorf("told %v", said)
	}
	if err := c.cfg.Snapshots.Save(c.world.Current()); !errors.Is(err, snapshots.ErrSuspended) {
		t.Errorf("the wrong World is handed on: %v", err)
	}
	if err := c.saveSnapshot(c.world.Current()); err != nil {
		t.Errorf("and is complained of every time: %v", err)
	}
	_, body = c.ask(t, http.MethodPost, RebuildPath+"?follow=true")
	if a := decoded[RebuildAnswer](t, body); a.OK || a.Snapshot != 3 {
		t.Errorf("%s", body)
	}
	next := &Cluster{cfg: c.cfg, world: projections.ProjectionFrom(c.loaded(t), 0), verifying: make(chan struct{}, 1)}
	if seq := next.world.Current().Seq(); seq != 3 {
		t.Errorf("the next start begins at %d", seq)
	}
	_, body = next.ask(t, http.MethodGet, VerifyPath)
	if r := decoded[controlplane.Report](t, body); !r.OK {
		t.Errorf("after the restart: %s", body)
	}
}

func TestRefoldingIsRefused(t *testing.T) {
	c, _ := newRefolder(t, same)
	tests := []struct {
		method, target string
		status         int
	}{
		{http.MethodPost, VerifyPath, http.StatusMethodNotAllowed},
		{http.MethodGet, RebuildPath, http.StatusMethodNotAllowed},
		{http.MethodGet, VerifyPath + "?from=1", http.StatusBadRequest},
		{http.MethodGet, VerifyPath + "?follow=maybe", http.StatusBadRequest},
	}
	for _, test := range tests {
		status, body := c.ask(t, test.method, test.target)
		if kind := decoded[struct{ Kind string }](t, body).Kind; status != test.status || kind != "Status" {
			t.Errorf("%s %s: %d %s", test.method, test.target, status, body)
		}
	}
	c.verifying <- struct{}{}
	if status, _ := c.ask(t, http.MethodGet, VerifyPath); status != http.StatusTooManyRequests {
		t.Errorf("a second one: %d", status)
	}
	<-c.verifying
	c.cfg.Log = unreadable{c.cfg.Log}
	if status, body := c.ask(t, http.MethodGet, VerifyPath); status != http.StatusServiceUnavailable {
		t.Errorf("a log that cannot be read: %d %s", status, body)
	}
}

type unreadable struct{ Log }

func (unreadable) Head(context.Context) (uint64, error) { return 0, events.ErrTemporary }

func TestLoadWorldTellsWhatItIgnores(t *testing.T) {
	c, _ := newRefolder(t, same)
	if err := c.cfg.Snapshots.Save(c.world.Current()); err != nil {
		t.Fatal(err)
	}
	core, told := observer.New(zap.InfoLevel)
	w, err := LoadWorld(t.Context(), c.cfg.Snapshots, otherIDs{c.cfg.Log}, zap.New(core))
	if err != nil || w.Seq() != 0 {
		t.Errorf("at %v, %v", w, err)
	}
	said := told.FilterMessage("a snapshot is passed over").All()
	if len(said) != 1 || said[0].Level != zap.WarnLevel || !strings.Contains(fmt.Sprint(said[0].ContextMap()["error"]), "it is not of this log") {
		t.Errorf("told %v", said)
	}
}

// otherIDs is a log with the same events under other ids.
type otherIDs struct{ Log }

func (l otherIDs) At(ctx context.Context, seq uint64) (events.Recorded, bool, error) {
	r, ok, err := l.Log.At(ctx, seq)
	r.ID += "-other"
	return r, ok, err
}
