package controlplane_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
)

// forged passes events on, but for those that change makes something else of.
type forged struct {
	*memlog.Log

	change func(events.Recorded) (events.Recorded, bool)
}

func (f forged) Read(ctx context.Context, from uint64, fn func(events.Recorded, uint64) error) error {
	return f.Log.Read(ctx, from, func(r events.Recorded, head uint64) error {
		r, ok := f.change(r)
		if !ok {
			return nil
		}
		return fn(r, head)
	})
}

func (f forged) At(ctx context.Context, seq uint64) (events.Recorded, bool, error) {
	r, ok, err := f.Log.At(ctx, seq)
	if !ok || err != nil {
		return r, ok, err
	}
	r, ok = f.change(r)
	return r, ok, nil
}

func honest(r events.Recorded) (events.Recorded, bool) { return r, true }

func without(seq uint64) func(events.Recorded) (events.Recorded, bool) {
	return func(r events.Recorded) (events.Recorded, bool) { return r, r.Seq != seq }
}

func TestVerify(t *testing.T) {
	b := newBench(t, memlog.Config{})
	b.create(t, "a")
	last := b.create(t, "b")
	served, err := b.world.Await(t.Context(), last)
	if err != nil {
		t.Fatal(err)
	}
	b.create(t, "later") // is none of the World's business
	tampered := func(r events.Recorded) (events.Recorded, bool) {
		r.Data = bytes.Replace(r.Data, []byte("test/hold"), []byte("test/held"), 1)
		return r, true
	}
	shorter := memlog.New(memlog.Config{})
	if err := controlplane.Initialize(t.Context(), shorter, time.Now(), b.newID, "user:test"); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		served   *projections.World
		log      controlplane.PastLog
		ok       bool
		from, to uint64
		differs  string // how, object, seq, fields
		problem  string
	}{
		{"all is well", served, b.log, true, 1, 3, "", ""},
		{"nothing has happened", projections.Empty(), b.log, true, 0, 0, "", ""},
		{"an object is not as it was recorded", served, forged{b.log, tampered}, false, 1, 3, "contents core/configmaps/shop/a 2 [metadata.finalizers[0]]", ""},
		{"an event was never recorded", served, forged{b.log, without(2)}, false, 1, 3, "extra core/configmaps/shop/a 2 []", ""},
		{"the log is shorter", served, shorter, false, 1, 3, "", "the log ends at event 1, the World is at 3"},
		{"the last event is gone", served, forged{b.log, without(3)}, false, 1, 3, "", "event 3 can no longer be read"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, refolded, err := controlplane.Verify(t.Context(), test.log, test.served)
			if err != nil {
				t.Fatal(err)
			}
			if got.OK != test.ok || got.From != test.from || got.To != test.to || got.Problem != test.problem || len(got.Hash) != 64 {
				t.Errorf("report %+v", got)
			}
			if (refolded == nil) != (test.problem != "") || (got.Refolded == "") != (test.ok || test.problem != "") {
				t.Errorf("refolded %v, hash %q", refolded, got.Refolded)
			}
			differs := ""
			if d := got.FirstDifference; d != nil {
				differs = fmt.Sprint(d.How, " ", d.Object, " ", d.Seq, " ", d.Fields)
			}
			if differs != test.differs {
				t.Errorf("first difference %q, want %q", differs, test.differs)
			}
		})
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	b := newBench(t, memlog.Config{})
	served, err := b.world.Await(t.Context(), b.create(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := controlplane.Verify(ctx, forged{b.log, honest}, served); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

// snapshots remembers what was saved.
type snapshots struct {
	seqs []uint64
	err  error
	cost time.Duration

	settle time.Duration
}

func (s *snapshots) save(w *projections.World) error {
	time.Sleep(s.cost)
	s.seqs = append(s.seqs, w.Seq())
	return s.err
}

// configMaps are the events of n ConfigMaps, from the sequence first on.
func configMaps(first, n uint64) []events.Recorded {
	var all []events.Recorded
	for seq := first; seq < first+n; seq++ {
		k := configMapKey(fmt.Sprint("c", seq))
		p := events.New(k.Wanted(), 0, events.TypeOf("configmap", events.FactCreated), events.Ref{},
			events.State{Object: []byte(`{"metadata":{"name":"` + k.Name + `","uid":"` + k.Name + `"}}`), UID: k.Name})
		p.ID = k.Name
		all = append(all, events.Recorded{Event: p.Event, Seq: seq, Stored: time.Now()})
	}
	return all
}

func TestSnapshotter(t *testing.T) {
	const period, many = 10 * time.Second, 100
	tests := []struct {
		name  string
		every uint64
		saves snapshots
		story func(fold func(n uint64))
		want  []uint64
	}{
		{"nothing happens", many, snapshots{}, func(func(uint64)) { time.Sleep(5 * period) }, nil},
		{"little happens", many, snapshots{}, func(fold func(uint64)) {
			fold(3)
			time.Sleep(period - time.Second)
			fold(1)
			time.Sleep(5 * period)
			fold(1)
			time.Sleep(2 * period)
		}, []uint64{6, 7}},
		{"much happens at once", many, snapshots{}, func(fold func(uint64)) {
			fold(many)
			time.Sleep(time.Second)
			fold(many - 1)
			time.Sleep(time.Second)
			fold(1)
			time.Sleep(time.Second)
		}, []uint64{102, 202}},
		{"a big one rests long", many, snapshots{cost: 2 * time.Second}, func(fold func(uint64)) {
			fold(many)
			time.Sleep(3 * time.Second)
			fold(many)
			time.Sleep(30 * time.Second)
			fold(many)
			time.Sleep(30 * time.Second)
		}, []uint64{102, 302}},
		{"it cannot be written", many, snapshots{err: errors.New("no space left")}, func(fold func(uint64)) {
			fold(1)
			time.Sleep(2*period + time.Second)
		}, []uint64{3, 3}},
		{"what may not be on disk yet waits", many, snapshots{settle: 2 * time.Second}, func(fold func(uint64)) {
			fold(many)
			time.Sleep(time.Second)
			fold(1)
			time.Sleep(2 * time.Second)
			fold(20_000)
		}, []uint64{102}},
		{"some is left at the end", 1 << 20, snapshots{}, func(fold func(uint64)) {
			fold(1)
			time.Sleep(period)
			fold(10_000)
		}, []uint64{3}},
		{"much is left at the end", 1 << 20, snapshots{}, func(fold func(uint64)) {
			fold(1)
			time.Sleep(period)
			fold(10_001)
		}, []uint64{3, 10_004}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := projections.Empty()
				for _, r := range configMaps(1, 2) {
					begin, _ = begin.Fold(r)
				}
				p := projections.ProjectionFrom(begin, 0)
				p.CaughtUpAt(2)
				s := controlplane.NewSnapshotter(controlplane.SnapshotterConfig{
					World: p, Save: test.saves.save, Now: time.Now, Logger: zap.NewNop(), Period: period, Events: test.every, Settle: test.saves.settle,
				})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error)
				go func() { done <- s.Run(ctx) }()
				synctest.Wait()
				test.story(func(n uint64) {
					for _, r := range configMaps(p.Current().Seq()+1, n) {
						p.Fold(r, r.Seq)
					}
				})
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(test.saves.seqs, test.want) {
					t.Errorf("saved at %v, want %v", test.saves.seqs, test.want)
				}
			})
		})
	}
}
