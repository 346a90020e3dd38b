package memlog

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"

	"periplus.dev/events"
)

// Feed is both ends of the feed in memory. The zero value works.
type Feed struct {
	mu      sync.Mutex
	puts    uint64 // how many puts there were
	items   map[feedKey]feedEntry
	changed chan struct{} // closed, and replaced, at each put
}

type feedKey struct{ node, kind, uid string }

type feedEntry struct {
	item events.FeedItem
	put  uint64 // which put it was
}

var (
	_ events.FeedWriter = (*Feed)(nil)
	_ events.FeedReader = (*Feed)(nil)
)

// Put implements [events.FeedWriter]. An item that is older than the one it
// would replace is passed over.
func (f *Feed) Put(ctx context.Context, node string, item events.FeedItem) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	item.Object = bytes.Clone(item.Object)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepare()
	key := feedKey{node: node, kind: item.Kind, uid: item.UID}
	if f.items[key].item.Seq > item.Seq {
		return nil
	}
	f.puts++
	f.items[key] = feedEntry{item: item, put: f.puts}
	close(f.changed)
	f.changed = make(chan struct{})
	return nil
}

// Follow implements [events.FeedReader].
func (f *Feed) Follow(ctx context.Context, node string, fn func(events.FeedItem) error) error {
	seen := uint64(0)
	for {
		fresh, puts, changed := f.since(node, seen)
		for _, e := range fresh {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fn(e.item); err != nil {
				return err
			}
		}
		seen = puts
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// since lists the node's items that were put after the given put, oldest first,
// with the number of puts so far and a channel that the next one closes.
func (f *Feed) since(node string, put uint64) ([]feedEntry, uint64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.prepare()
	var fresh []feedEntry
	for key, e := range f.items {
		if key.node == node && e.put > put {
			fresh = append(fresh, e)
		}
	}
	slices.SortFunc(fresh, func(a, b feedEntry) int { return cmp.Compare(a.put, b.put) })
	return fresh, f.puts, f.changed
}

func (f *Feed) prepare() {
	if f.items == nil {
		f.items = map[feedKey]feedEntry{}
		f.changed = make(chan struct{})
	}
}
