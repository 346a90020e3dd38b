package nodeagent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/nodeagent/fakeruntime"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/projections"
)

// Whenever the agent is ended and started again, and whatever the log and the
// runtime answer or fail to answer: each start and each exit is recorded once, in
// order, and what was asked for is done in the end.
func TestAgentThatIsEndedAtAnyMoment(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			chance := rand.New(rand.NewPCG(seed, 1))
			n := uint64(0)
			odd := func(of uint64) bool { n++; return (n*0x9E3779B97F4A7C15+seed)>>32%of == 0 }
			var mu sync.Mutex
			lost := map[string]bool{}
			faults := memlog.Config{Lose: func(ps []events.Proposal) error {
				mu.Lock()
				defer mu.Unlock()
				if ps[0].Source.Node() != "" && !lost[ps[0].ID] && odd(6) {
					lost[ps[0].ID] = true
					return context.DeadlineExceeded
				}
				return nil
			}}
			slow := fakeruntime.Config{Latency: func(fakeruntime.Call) time.Duration { return time.Duration(20+seed) * time.Millisecond }}
			scenario(t, faults, slow, func(b *bench) {
				b.start()
				commands := []string{"serve", "sleep 3; exit 1", "sleep 7", "stubborn"}
				for i, c := range commands {
					b.create(pod(fmt.Sprint("p", i), c))
				}
				for range 15 {
					b.pass(time.Duration(chance.IntN(4000)) * time.Millisecond)
					b.stop()
					if chance.IntN(3) == 0 {
						b.pass(time.Duration(chance.IntN(9000)) * time.Millisecond)
					}
					b.start()
				}
				b.delete("p1", 5)
				b.delete("p3", 5)
				b.pass(2 * time.Second)
				b.stop()
				b.pass(time.Second)
				b.start()
				b.pass(10 * time.Minute)
				for i := range commands {
					b.wantOnce(fmt.Sprint("p", i))
				}
				for _, name := range []string{"p1", "p3"} {
					if !projections.PodStopped(b.object(podKey(name))) {
						t.Errorf("%s has not stopped: %v", name, short(b.observed(name)))
					}
				}
				if st := b.status("p0").ContainerStatuses[0]; st.RestartCount != 0 || st.State.Running == nil {
					t.Errorf("a container that serves was touched: %s", mustJSON(t, st))
				}
			})
		})
	}
}

// wantOnce checks that starts and exits of a pod's container take turns.
func (b *bench) wantOnce(name string) {
	b.t.Helper()
	last, runs := -1, false
	counts := map[events.Type]int{}
	for _, r := range b.observed(name) {
		counts[r.Type]++
		switch r.Type {
		case events.ContainerStarted:
			d := decode[events.Started](b, r)
			if runs || d.Attempt <= last {
				b.t.Errorf("%s: attempt %d was started after %d (running: %v)", name, d.Attempt, last, runs)
			}
			last, runs = d.Attempt, true
		case events.ContainerExited:
			if d := decode[events.Exited](b, r); !runs || d.Attempt != last {
				b.t.Errorf("%s: attempt %d has exited, but %d is the last (running: %v)", name, d.Attempt, last, runs)
			}
			runs = false
		}
	}
	for _, once := range []events.Type{events.PodSandboxCreated, events.PodStopped, events.PodStopping} {
		if counts[once] > 1 {
			b.t.Errorf("%s: %s was recorded %d times: %v", name, once.Short(), counts[once], short(b.observed(name)))
		}
	}
}

// lateLister tells what was there some time ago.
type lateLister struct {
	runtime.Runtime
	late time.Duration
}

func (l lateLister) List(ctx context.Context) ([]runtime.PodState, error) {
	pods, err := l.Runtime.List(ctx)
	<-time.NewTimer(l.late).C // the bubble's time
	return pods, err
}

// What the runtime said before a start had ended is no proof that the container
// is gone.
func TestOldNewsOfTheRuntime(t *testing.T) {
	slow := fakeruntime.Config{Latency: func(c fakeruntime.Call) time.Duration {
		if c.Verb == "List" {
			return 0
		}
		return 30 * time.Millisecond
	}}
	scenario(t, memlog.Config{}, slow, func(b *bench) {
		b.config.Runtime = lateLister{b.rt, 200 * time.Millisecond}
		b.start()
		b.pass(900 * time.Millisecond) // the second listing begins at 1s and takes until 1.2s; starts end in between
		for i := range 5 {
			b.create(pod(fmt.Sprint("p", i), "serve"))
			b.pass(7 * time.Millisecond)
		}
		b.create(pod("short", "sleep 0.01; exit 4"))
		b.pass(2 * time.Second)
		for i := range 5 {
			if got := short(b.observed(fmt.Sprint("p", i))); got[len(got)-1] != started || slices.Contains(got, exited) {
				t.Errorf("recorded %v", got)
			}
		}
		for _, r := range b.observed("short") {
			if r.Type == events.ContainerExited && decode[events.Exited](b, r).ExitCode != 4 {
				t.Errorf("exit %s", r.Data)
			}
		}
	})
}

// An agent that knows less than the log from its feed waits for the feed.
func TestFeedIsBehindTheLog(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		p := pod("web", "serve")
		b.create(p)
		old := events.FeedItem{
			Kind: events.FeedPods, UID: string(p.UID), Seq: b.world.Current().Seq(), Object: []byte(mustJSON(t, p)), Desired: b.object(podKey("web")).Desired,
		}
		b.start()
		b.stop()
		b.wantObserved("web", running...)
		b.feed = &memlog.Feed{}
		b.config.Feed = b.feed
		synced := events.FeedItem{Kind: events.FeedSynced, UID: nodeName, Seq: old.Seq, Desired: b.world.Current().Genesis()}
		for _, item := range []events.FeedItem{old, synced} {
			if err := b.feed.Put(context.Background(), nodeName, item); err != nil {
				t.Fatal(err)
			}
		}
		b.start()
		b.pass(time.Second)
		b.wantObserved("web", running...)
		b.feedAnew()
		b.pass(time.Minute)
		b.wantObserved("web", running...)
	})
}

// What the runtime knows of a container is not removed before it is recorded.
func TestNothingIsRemovedBeforeItIsRecorded(t *testing.T) {
	var away atomic.Bool
	scenario(t, memlog.Config{Fail: func(ps []events.Proposal) error {
		if away.Load() && ps[0].Source.Node() != "" {
			return events.ErrTemporary
		}
		return nil
	}}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		away.Store(true)
		b.delete("web", 30)
		b.pass(time.Minute)
		b.stop() // and all that it knew is lost
		away.Store(false)
		b.start()
		b.pass(time.Minute)
		facts := b.observed("web")
		if got := short(facts); got[len(got)-1] != "pod.stopped" {
			t.Fatalf("recorded %v", got)
		}
		exits := 0
		for _, r := range facts {
			if r.Type == events.ContainerExited {
				exits++
				if d := decode[events.Exited](b, r); d.ExitCode != 143 {
					t.Errorf("exit %+v", d)
				}
			}
		}
		if exits != 1 {
			t.Errorf("%d exits were recorded", exits)
		}
	})
}
