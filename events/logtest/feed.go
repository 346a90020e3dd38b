package logtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"periplus.dev/events"
)

// Feed is both ends of a feed.
type Feed interface {
	events.FeedWriter
	events.FeedReader
}

// RunFeed runs the suite that every feed passes. open makes an empty feed, which
// the test's end closes.
func RunFeed(t *testing.T, open func(*testing.T) Feed) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *feedBench)
	}{
		{"SnapshotThenLive", testSnapshotThenLive},
		{"ReplacedIsNotSeen", testReplacedIsNotSeen},
		{"NodesAreApart", testNodesAreApart},
		{"GoneIsTold", testGoneIsTold},
		{"NeverOlder", testNeverOlder},
		{"ManyWhileWritten", testManyWhileWritten},
		{"FollowReturns", testFollowReturns},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			test.run(t, &feedBench{Feed: open(t), t: t, ctx: ctx})
		})
	}
}

type feedBench struct {
	Feed
	t   *testing.T
	ctx context.Context
}

func item(uid string, seq uint64) events.FeedItem {
	return events.FeedItem{
		Kind: events.FeedPods, UID: uid, Seq: seq, Object: []byte(fmt.Sprintf(`{"n":%d}`, seq)),
		Desired: events.Ref{Seq: seq, ID: "id", Change: "change"},
	}
}

func (b *feedBench) put(node string, items ...events.FeedItem) {
	b.t.Helper()
	for _, i := range items {
		if err := b.Put(b.ctx, node, i); err != nil {
			b.t.Fatalf("put %s: %v", i.UID, err)
		}
	}
}

// follow delivers a node's items on a channel until the test's end.
func (b *feedBench) follow(node string) <-chan events.FeedItem {
	ctx, cancel := context.WithCancel(b.ctx)
	items := make(chan events.FeedItem)
	var g group
	g.run(func() error {
		return b.Follow(ctx, node, func(i events.FeedItem) error {
			select {
			case items <- i:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	b.t.Cleanup(func() {
		cancel()
		if err := g.wait(); !errors.Is(err, context.Canceled) {
			b.t.Errorf("follow: %v, want the context's error", err)
		}
	})
	return items
}

// until returns what comes up to an item with the uid, which is the last.
func (b *feedBench) until(items <-chan events.FeedItem, uid string) []events.FeedItem {
	b.t.Helper()
	var got []events.FeedItem
	for {
		select {
		case i := <-items:
			got = append(got, i)
			if i.UID == uid {
				return got
			}
		case <-b.ctx.Done():
			b.t.Fatalf("%s did not come; %d others did", uid, len(got))
		}
	}
}

func (b *feedBench) want(got []events.FeedItem, want ...events.FeedItem) {
	b.t.Helper()
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		b.t.Errorf("items\n%+v\nwant\n%+v", got, want)
	}
}

func testSnapshotThenLive(_ *testing.T, b *feedBench) {
	b.put("n1", item("a", 1), item("b", 2))
	items := b.follow("n1")
	b.want(b.until(items, "b"), item("a", 1), item("b", 2))
	b.put("n1", item("a", 3), item("c", 4))
	b.want(b.until(items, "c"), item("a", 3), item("c", 4))
	synced := events.FeedItem{Kind: events.FeedSynced, UID: "n1", Seq: 4}
	b.put("n1", synced)
	b.want(b.until(items, "n1"), synced)
}

func testReplacedIsNotSeen(_ *testing.T, b *feedBench) {
	b.put("n1", item("a", 1), item("b", 2), item("a", 3))
	secret := item("a", 4)
	secret.Kind = events.FeedSecrets // another kind is another item
	b.put("n1", secret, item("end", 5))
	b.want(b.until(b.follow("n1"), "end"), item("b", 2), item("a", 3), secret, item("end", 5))
}

func testNodesAreApart(_ *testing.T, b *feedBench) {
	b.put("n1", item("a", 1))
	b.put("n1.x", item("b", 1))
	one, two := b.follow("n1"), b.follow("n1.x")
	b.want(b.until(one, "a"), item("a", 1))
	b.want(b.until(two, "b"), item("b", 1))
	b.put("n1", item("c", 2))
	b.put("n1.x", item("d", 2))
	b.want(b.until(one, "c"), item("c", 2))
	b.want(b.until(two, "d"), item("d", 2))
}

func testGoneIsTold(_ *testing.T, b *feedBench) {
	b.put("n1", item("a", 1))
	items := b.follow("n1")
	b.until(items, "a")
	gone := events.FeedItem{Kind: events.FeedPods, UID: "a", Seq: 2, Gone: true}
	b.put("n1", gone)
	b.want(b.until(items, "a"), gone)
}

func testNeverOlder(t *testing.T, b *feedBench) {
	b.put("n1", item("a", 5))
	items := b.follow("n1")
	b.until(items, "a")
	b.put("n1", item("a", 4), item("end", 5))
	for _, i := range b.until(items, "end") {
		if i.UID == "a" && i.Seq < 5 {
			t.Errorf("item of sequence %d after the one of 5", i.Seq)
		}
	}
}

// testManyWhileWritten: whoever comes while items are put ends up with the last
// state of every one.
func testManyWhileWritten(t *testing.T, b *feedBench) {
	const many, followers = 1500, 3
	var feeds []<-chan events.FeedItem
	for n := range many {
		b.put("n1", item(fmt.Sprint("pod-", n), 1))
		if n%(many/followers) == 0 {
			feeds = append(feeds, b.follow("n1"))
		}
	}
	feeds = append(feeds, b.follow("n1"))
	var g group
	for _, items := range feeds {
		g.run(func() error {
			last := map[string]uint64{}
			for {
				select {
				case i := <-items:
					last[i.UID] = i.Seq
				case <-b.ctx.Done():
					return b.ctx.Err()
				}
				if last["end"] != 0 {
					break
				}
			}
			for n := range many {
				want := uint64(1)
				if n%2 == 0 {
					want = 2
				}
				if uid := fmt.Sprint("pod-", n); last[uid] != want {
					return fmt.Errorf("%s is at %d, want %d", uid, last[uid], want)
				}
			}
			return nil
		})
	}
	for n := 0; n < many; n += 2 {
		b.put("n1", item(fmt.Sprint("pod-", n), 2))
	}
	b.put("n1", item("end", 3))
	if err := g.wait(); err != nil {
		t.Error(err)
	}
}

func testFollowReturns(t *testing.T, b *feedBench) {
	b.put("n1", item("a", 1), item("b", 2))
	calls := 0
	if err := b.Follow(b.ctx, "n1", func(events.FeedItem) error { calls++; return errEnough }); !errors.Is(err, errEnough) || calls != 1 {
		t.Errorf("follow: %v after %d calls, want fn's error after 1", err, calls)
	}
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	if err := b.Follow(ctx, "n1", func(events.FeedItem) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("follow with an ended context: %v", err)
	}
}
