package runtime

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Bell is how an implementation keeps the promise of [State.Watch]. The zero
// value is ready.
type Bell struct {
	mu      sync.Mutex
	ringing map[*watcher]struct{}
}

type watcher struct {
	woken   chan struct{} // holds one token if pending is not empty
	pending map[string]struct{}
}

// Ring wakes everybody who watches, because of one pod, or of all with an empty
// uid. It does not block: calls that nobody has answered yet are answered once.
func (b *Bell) Ring(uid string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.ringing {
		w.pending[uid] = struct{}{}
		select {
		case w.woken <- struct{}{}:
		default:
		}
	}
}

// Watch does what [State.Watch] promises.
func (b *Bell) Watch(ctx context.Context, fn func(Event)) error {
	w := &watcher{woken: make(chan struct{}, 1), pending: map[string]struct{}{}}
	b.mu.Lock()
	if b.ringing == nil {
		b.ringing = map[*watcher]struct{}{}
	}
	b.ringing[w] = struct{}{}
	b.mu.Unlock()
	defer b.forget(w)

	fn(Event{})
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.woken:
		}
		for _, uid := range b.answer(w) {
			fn(Event{UID: uid})
		}
	}
}

// answer takes what is pending, in a fixed order.
func (b *Bell) answer(w *watcher) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	uids := slices.Sorted(maps.Keys(w.pending))
	clear(w.pending)
	return uids
}

func (b *Bell) forget(w *watcher) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ringing, w)
}
