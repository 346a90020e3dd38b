package nodeagent_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/nodeagent/fakeruntime"
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
			lost := map[string]bool{}
			faults := memlog.Config{Lose: func(ps []events.Proposal) error {
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
