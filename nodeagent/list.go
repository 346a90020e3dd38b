package nodeagent

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"periplus.dev/nodeagent/runtime"
)

// lister keeps the agent's picture of the runtime.
type lister struct {
	wanted chan struct{} // holds a token if it is time to look
	began  atomic.Uint64 // how many listings were begun

	mu     sync.Mutex
	latest listing
}

// listing is one picture of the runtime.
type listing struct {
	number uint64 // from 1; 0: none yet
	pods   map[string]runtime.PodState
}

// sight is what a listing says of one pod.
type sight struct {
	number uint64
	pod    *runtime.PodState // nil: nothing of it is there
}

func newLister() *lister { return &lister{wanted: make(chan struct{}, 1)} }

func (l *lister) picture() listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}

func (l listing) of(uid string) sight {
	if p, ok := l.pods[uid]; ok {
		return sight{number: l.number, pod: &p}
	}
	return sight{number: l.number}
}

// watch asks for a listing whenever the runtime has something to tell.
func (a *Agent) watch(ctx context.Context) error {
	return a.persist(ctx, "watch runtime", func() error {
		return a.cfg.Runtime.Watch(ctx, func(runtime.Event) { ring(a.look.wanted) })
	})
}

// unknownPause is after how long the runtime is asked again about a container of
// which it could not tell anything.
const unknownPause = time.Second

// list looks when it is asked to, and tells the workers of the pods for which
// something is different. It rests for some time after each look, the longer
// the more a look costs.
func (a *Agent) list(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.look.wanted:
		}
		var took time.Duration
		err := a.persist(ctx, "list pods", func() error {
			number, started := a.look.began.Add(1), a.cfg.Now()
			states, err := a.cfg.Runtime.List(ctx)
			if err == nil {
				a.saw(number, states)
			}
			took = a.cfg.Now().Sub(started)
			return err
		})
		if err != nil {
			return err
		}
		if err := sleep(ctx, min(4*took, time.Second)); err != nil {
			return err
		}
	}
}

// saw takes over a listing.
func (a *Agent) saw(number uint64, states []runtime.PodState) {
	next := listing{number: number, pods: make(map[string]runtime.PodState, len(states))}
	for _, p := range states {
		next.pods[p.Pod.UID] = p
		if unknown(p) {
			time.AfterFunc(unknownPause, func() { ring(a.look.wanted) })
		}
	}
	a.look.mu.Lock()
	before := a.look.latest
	a.look.latest = next
	a.look.mu.Unlock()
	for _, w := range a.all() {
		was, is := before.of(w.uid), next.of(w.uid)
		w.show(is, before.number == 0 || !reflect.DeepEqual(was.pod, is.pod))
	}
	a.cfg.Logger.Debug("listed pods", zap.Uint64("listing", number), zap.Int("pods", len(states)))
}

func unknown(p runtime.PodState) bool {
	for _, c := range p.Containers {
		if c.Phase == runtime.Unknown {
			return true
		}
	}
	return false
}
