package snapshots_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/jetstream"
	"periplus.dev/projections"
	"periplus.dev/snapshots"
)

// life is a log on disk, from a start to the next stop, with the World that is
// folded of it from the newest snapshot on.
type life struct {
	log   *jetstream.Log
	world *projections.Projection
	store *snapshots.Store
	begun uint64 // sequence of the World that the fold began with
	stop  func()
}

func begin(t *testing.T, dir string) *life {
	t.Helper()
	server, err := jetstream.Start(t.Context(), jetstream.Config{Dir: filepath.Join(dir, "log"), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	l := &life{store: open(t, filepath.Join(dir, "snapshots"))}
	conn, err := server.Connect()
	if err == nil {
		l.log, err = jetstream.Open(t.Context(), conn, jetstream.LogConfig{Logger: zap.NewNop()})
	}
	var w *projections.World
	if err == nil {
		w, _, err = l.store.Load(t.Context(), l.log)
	}
	if err != nil {
		t.Fatal(errors.Join(err, server.Close()))
	}
	l.begun, l.world = w.Seq(), projections.ProjectionFrom(w, 0)
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	following.Go(func() {
		if err := controlplane.Follow(ctx, l.log, l.world, zap.NewNop()); err != nil {
			t.Errorf("follow: %v", err)
		}
	})
	l.stop = sync.OnceFunc(func() {
		cancel()
		following.Wait()
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(l.stop)
	return l
}

// create records pods and what their node says of them.
func (l *life) create(t *testing.T, names ...string) *projections.World {
	t.Helper()
	var last uint64
	record := func(p events.Proposal) events.Ref {
		p.ID, p.Time, p.Actor = fmt.Sprintf("%s-%s-%d", p.Subject.Key.Name, p.Subject.Half, last), time.Now().UTC(), "user:alice"
		if p.Source == "" {
			p.Source = events.DoorSource
		}
		if p.Change == "" {
			p.Change = p.ID
		}
		seqs, err := l.log.Append(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		last = seqs[0]
		return events.Ref{Seq: last, ID: p.ID, Change: p.Change}
	}
	for _, name := range names {
		k := events.Key{Resource: "pods", Namespace: "shop", Name: name}
		ref := record(projections.Created(k, events.TypeOf("pod", events.FactCreated), events.Ref{}, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name)},
			Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}))
		p := events.New(k.Observed("n1"), 0, events.ContainerStarted, ref, events.Started{UID: name, Container: "c", ID: "x", At: time.Now().UTC(), Ready: true})
		p.Source = events.NodeSource("n1")
		record(p)
	}
	w, err := l.world.Await(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (l *life) verify(t *testing.T) controlplane.Report {
	t.Helper()
	<-l.world.CaughtUp()
	report, _, err := controlplane.Verify(t.Context(), l.log, l.world.Current())
	if err != nil || !report.OK {
		t.Fatalf("verify: %+v, %v", report, err)
	}
	return report
}

// A start from a snapshot and what was recorded since is a start from the first event.
func TestRestartFromSnapshotAndTail(t *testing.T) {
	dir := t.TempDir()
	first := begin(t, dir)
	save(t, first.store, first.create(t, "a", "b"))
	first.create(t, "c", "d")
	want := first.verify(t)
	first.stop()

	second := begin(t, dir)
	if second.begun != 4 {
		t.Errorf("began at %d, want 4", second.begun)
	}
	if got := second.verify(t); got.Hash != want.Hash || got.To != 8 {
		t.Errorf("from the snapshot on it is %s at %d, want %s", got.Hash, got.To, want.Hash)
	}
	if _, _, err := second.world.Changes("pods", 3); !errors.Is(err, projections.ErrExpired) {
		t.Errorf("changes from before the snapshot: %v", err)
	}
	second.create(t, "e")
	want = second.verify(t)
	second.stop()

	for _, file := range []string{fileOf(second.store.Dir(), 4)} {
		edit(t, file, func(raw []byte) []byte { return raw[:len(raw)/2] })
	}
	third := begin(t, dir)
	if third.begun != 0 {
		t.Errorf("began at %d with half a snapshot", third.begun)
	}
	if got := third.verify(t); got.Hash != want.Hash {
		t.Errorf("without a snapshot it is %s, want %s", got.Hash, want.Hash)
	}
}
