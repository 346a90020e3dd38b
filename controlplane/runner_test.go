package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// marker keeps a finalizer off every ConfigMap that has one: the smallest
// decision that has something to do and then nothing more.
func marker(calls *atomic.Int64) reconcilers.Reconciler {
	return reconcilers.Reconciler{
		Name: "garbage",
		Wakes: func(_ *projections.World, c projections.Change) []events.Key {
			if c.Object.Key.GroupResource() == projections.ConfigMaps {
				return []events.Key{c.Object.Key}
			}
			return nil
		},
		Decide: func(w *projections.World, k events.Key, _ time.Time) ([]events.Proposal, time.Time) {
			calls.Add(1)
			o, ok := w.Get(k)
			if !ok || len(o.Meta().GetFinalizers()) == 0 {
				return nil, time.Time{}
			}
			next := projections.As[*corev1.ConfigMap](o).DeepCopy()
			next.Finalizers = nil
			return []events.Proposal{projections.Changed(o, projections.TypeOf(o, events.FactDependentsGone), o.Desired, next)}, time.Time{}
		},
	}
}

// bench is a log, its projection, and what runs on them until the test ends.
type bench struct {
	log   *memlog.Log
	world *projections.Projection
	ids   atomic.Int64
	group sync.WaitGroup
}

func newBench(t *testing.T, cfg memlog.Config) *bench {
	t.Helper()
	b := &bench{log: memlog.New(cfg), world: projections.NewProjection(0)}
	t.Cleanup(b.group.Wait) // after the context of the test has ended
	if err := controlplane.Initialize(t.Context(), b.log, time.Now(), b.newID, "user:test"); err != nil {
		t.Fatal(err)
	}
	b.run(t, func(ctx context.Context) error { return controlplane.Follow(ctx, b.log, b.world, zap.NewNop()) })
	return b
}

func (b *bench) newID() string { return fmt.Sprintf("id-%d", b.ids.Add(1)) }

func (b *bench) run(t *testing.T, loop func(context.Context) error) {
	t.Helper()
	ctx := t.Context()
	b.group.Go(func() {
		if err := loop(ctx); err != nil {
			t.Errorf("loop ended: %v", err)
		}
	})
}

func (b *bench) runner(r reconcilers.Reconciler) *controlplane.Runner {
	return controlplane.NewRunner(controlplane.RunnerConfig{
		Reconciler: r, World: b.world, Log: b.log, Now: time.Now, NewID: b.newID, Logger: zap.NewNop(),
	})
}

func configMapKey(name string) events.Key {
	return events.Key{Resource: projections.ConfigMaps, Namespace: "shop", Name: name}
}

func (b *bench) create(t *testing.T, name string) uint64 {
	t.Helper()
	p := projections.Created(configMapKey(name), events.TypeOf("configmap", events.FactCreated), events.Ref{}, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID("uid-" + name), Finalizers: []string{"test/hold"}},
	})
	p.ID, p.Time, p.Source, p.Actor = b.newID(), time.Now(), events.DoorSource, "user:test"
	p.Change = p.ID
	seqs, err := b.log.Append(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return seqs[0]
}

// await waits until cond holds in the World.
func (b *bench) await(t *testing.T, what string, cond func(*projections.World) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		w := b.world.Current()
		_, next, err := b.world.Changes("", w.Seq())
		if err != nil {
			continue
		}
		if cond(w) {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			t.Fatalf("never %s; world at %d", what, w.Seq())
		}
	}
}

func freed(name string) func(*projections.World) bool {
	return func(w *projections.World) bool {
		o, ok := w.Get(configMapKey(name))
		return ok && len(o.Meta().GetFinalizers()) == 0
	}
}

func TestRunnerDecidesForWhatIsThereAndWhatComes(t *testing.T) {
	var calls atomic.Int64
	b := newBench(t, memlog.Config{})
	b.create(t, "before")
	b.run(t, b.runner(marker(&calls)).Run)
	b.await(t, "freed", freed("before"))
	b.create(t, "after")
	b.await(t, "freed", freed("after"))
	last, ok, err := b.log.Last(t.Context(), configMapKey("after").Wanted())
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if last.Actor != "reconciler:garbage" || last.Source != "/reconcilers/garbage" || last.Cause == "" || last.Change == "" {
		t.Errorf("recorded as %+v", last.Event)
	}
}

func TestTwoRunnersRecordOnce(t *testing.T) {
	var calls atomic.Int64
	b := newBench(t, memlog.Config{})
	b.run(t, b.runner(marker(&calls)).Run)
	b.run(t, b.runner(marker(&calls)).Run)
	for i := range 20 {
		b.create(t, fmt.Sprintf("c%d", i))
	}
	for i := range 20 {
		name := fmt.Sprintf("c%d", i)
		b.await(t, "freed", freed(name))
		n := 0
		if err := b.log.Of(t.Context(), configMapKey(name), func(events.Recorded) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if n != 2 {
			t.Errorf("%s has %d events, want 2", name, n)
		}
	}
}

func TestRunnerLooksAgainAfterAConflict(t *testing.T) {
	var calls atomic.Int64
	var refused atomic.Bool
	b := newBench(t, memlog.Config{Fail: func(ps []events.Proposal) error {
		if ps[0].Type.Fact() == events.FactDependentsGone && refused.CompareAndSwap(false, true) {
			return events.ErrConflict
		}
		return nil
	}})
	b.run(t, b.runner(marker(&calls)).Run)
	b.create(t, "c")
	b.await(t, "freed", freed("c"))
	if calls.Load() < 2 {
		t.Errorf("asked %d times, want again after the conflict", calls.Load())
	}
}

// Many decisions are one append; a log that refuses it gets them one by one.
func TestRunnerAppendsManyAtOnce(t *testing.T) {
	const many = 50
	for name, refuse := range map[string]error{"taken": nil, "refused": events.ErrConflict, "in trouble": events.ErrTemporary} {
		t.Run(name, func(t *testing.T) {
			var calls, largest atomic.Int64
			b := newBench(t, memlog.Config{Fail: func(ps []events.Proposal) error {
				largest.Store(max(largest.Load(), int64(len(ps))))
				if len(ps) > 1 {
					return refuse
				}
				return nil
			}})
			for i := range many {
				b.create(t, fmt.Sprintf("c%d", i))
			}
			if _, err := b.world.Await(t.Context(), many+1); err != nil {
				t.Fatal(err)
			}
			b.run(t, b.runner(marker(&calls)).Run)
			for i := range many {
				b.await(t, "freed", freed(fmt.Sprintf("c%d", i)))
			}
			if largest.Load() != many {
				t.Errorf("the largest append had %d facts, want %d", largest.Load(), many)
			}
		})
	}
}

// A runner whose log takes nothing ends with its context all the same: newBench
// waits for that.
func TestRunnerEndsWhileTheLogTakesNothing(t *testing.T) {
	var calls atomic.Int64
	tried := make(chan struct{}, 1)
	b := newBench(t, memlog.Config{Fail: func(ps []events.Proposal) error {
		if len(ps) == 1 {
			return nil
		}
		select {
		case tried <- struct{}{}:
		default:
		}
		return errors.New("no connection")
	}})
	for i := range 50 {
		b.create(t, fmt.Sprintf("c%d", i))
	}
	b.run(t, b.runner(marker(&calls)).Run)
	<-tried
}

func TestRunnerRepeatsWhatMayHaveBeenLost(t *testing.T) {
	var calls, losses atomic.Int64
	b := newBench(t, memlog.Config{Lose: func(ps []events.Proposal) error {
		if ps[0].Type.Fact() == events.FactDependentsGone && losses.Add(1) < 3 {
			return errors.New("connection lost")
		}
		return nil
	}})
	b.run(t, b.runner(marker(&calls)).Run)
	b.create(t, "c")
	b.await(t, "freed", freed("c"))
	head, err := b.log.Head(t.Context())
	if err != nil || head != 3 {
		t.Errorf("head = %d, %v; want 3: recorded once", head, err)
	}
}

func TestRunnerTriesAgainLater(t *testing.T) {
	for _, failure := range []error{events.ErrTemporary, events.ErrInvalid} {
		t.Run(failure.Error(), func(t *testing.T) {
			var calls, failures atomic.Int64
			b := newBench(t, memlog.Config{Fail: func(ps []events.Proposal) error {
				if ps[0].Type.Fact() == events.FactDependentsGone && failures.Add(1) < 4 {
					return fmt.Errorf("no: %w", failure)
				}
				return nil
			}})
			b.run(t, b.runner(marker(&calls)).Run)
			b.create(t, "c")
			b.await(t, "freed", freed("c"))
		})
	}
}

// A pod of a name that an earlier pod was observed under can be observed too.
func TestRunnerObservesTheSuccessorOfAName(t *testing.T) {
	refuser := reconcilers.Reconciler{
		Name: "scheduler",
		Wakes: func(_ *projections.World, c projections.Change) []events.Key {
			if c.Object.Key.GroupResource() == projections.Pods {
				return []events.Key{c.Object.Key}
			}
			return nil
		},
		Decide: func(w *projections.World, k events.Key, _ time.Time) ([]events.Proposal, time.Time) {
			o, ok := w.Get(k)
			if !ok || projections.PodUnschedulable(o) != "" {
				return nil, time.Time{}
			}
			refusal := events.Unschedulable{UID: string(o.UID()), Message: "no node"}
			return []events.Proposal{events.New(k.Observed(""), o.Own.Seq, events.PodUnschedulable, o.Desired, refusal)}, time.Time{}
		},
	}
	b := newBench(t, memlog.Config{})
	b.run(t, b.runner(refuser).Run)
	k := events.Key{Resource: projections.Pods, Namespace: "shop", Name: "p"}
	refused := func(uid types.UID) func(*projections.World) bool {
		return func(w *projections.World) bool {
			o, ok := w.Get(k)
			return ok && o.UID() == uid && projections.PodUnschedulable(o) != ""
		}
	}
	for _, uid := range []types.UID{"first", "second"} {
		b.put(t, projections.Pods, "pod", "p", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "shop", UID: uid}})
		b.await(t, "refused", refused(uid))
		o, _ := b.world.Current().Get(k)
		b.record(t, projections.Removed(o, events.TypeOf("pod", events.FactDeleted), events.Ref{}))
	}
}

func TestInitializeOnlyOnce(t *testing.T) {
	b := newBench(t, memlog.Config{})
	if err := controlplane.Initialize(t.Context(), b.log, time.Now(), b.newID, "user:test"); err != nil {
		t.Fatal(err)
	}
	if head, err := b.log.Head(t.Context()); err != nil || head != 1 {
		t.Errorf("head = %d, %v; want 1", head, err)
	}
}

func TestFollowEndsAtAGap(t *testing.T) {
	err := controlplane.Follow(t.Context(), gapLog{}, projections.NewProjection(0), zap.NewNop())
	if !errors.Is(err, events.ErrGap) {
		t.Errorf("err = %v, want ErrGap", err)
	}
}

// gapLog has lost an event.
type gapLog struct{ controlplane.Log }

func (gapLog) Head(context.Context) (uint64, error) { return 2, nil }
func (gapLog) Read(context.Context, uint64, func(events.Recorded, uint64) error) error {
	return fmt.Errorf("sequence 1: %w", events.ErrGap)
}
