package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"periplus.dev/events"
)

// FeedConfig of the feed on a server. The zero value works.
type FeedConfig struct {
	// Timeout bounds a put when the context does not; 15 seconds if zero.
	Timeout time.Duration
	// Logger takes what operators have to know; nil for nothing.
	Logger *zap.Logger
}

// Names of the feed. The server sends what it stores on a subject below feedPut
// on below feedLive too, where following costs it next to nothing.
const (
	feedStream = "FEED"
	feedPut    = "pp.feed"
	feedLive   = "pp.feedlive"
)

const (
	// goneLife is how long the feed says that an object is gone. A node that was
	// away for longer learns it from what is not there.
	goneLife  = "1h"
	headerTTL = "Nats-TTL"
	// rereadAfter is how often a follower looks whether it missed anything.
	rereadAfter   = 5 * time.Minute
	snapshotFetch = 256
)

// Feed is both ends of the feed, in a stream in the server's memory: nothing of
// it reaches a disk, and it is empty after the server's start.
type Feed struct {
	cfg FeedConfig
	nc  *nats.Conn
	js  js.JetStream
}

var (
	_ events.FeedWriter = (*Feed)(nil)
	_ events.FeedReader = (*Feed)(nil)
)

// OpenFeed makes the stream if it is not there and returns the feed in it. It
// lives as long as the connection; there is nothing to close.
func OpenFeed(ctx context.Context, c *Conn, cfg FeedConfig) (*Feed, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	api, err := js.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("open feed: %w", err)
	}
	ctx, cancel := within(ctx, cfg.Timeout)
	defer cancel()
	f := &Feed{cfg: cfg, nc: c.nc, js: api}
	if err := f.make(ctx); err != nil {
		return nil, fmt.Errorf("open feed: %w", err)
	}
	return f, nil
}

// make makes the stream if it is not there.
func (f *Feed) make(ctx context.Context) error {
	_, err := f.js.CreateOrUpdateStream(ctx, js.StreamConfig{
		Name:              feedStream,
		Subjects:          []string{feedPut + ".>"},
		Storage:           js.MemoryStorage,
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        maxPayload,
		AllowMsgTTL:       true,
		AllowDirect:       true,
		RePublish:         &js.RePublish{Source: feedPut + ".>", Destination: feedLive + ".>"},
	})
	return err
}

// Put implements [events.FeedWriter]. If the stream is gone, because the server
// was started again, it is made anew, empty, and Put returns an error: its caller
// has to put everything again.
func (f *Feed) Put(ctx context.Context, node string, item events.FeedItem) error {
	if node == "" || item.Kind == "" || item.UID == "" {
		return fmt.Errorf("put feed item: %w: node %q, kind %q and uid %q are required", events.ErrInvalid, node, item.Kind, item.UID)
	}
	data, err := json.Marshal(item)
	if err != nil {
		return fmt.Errorf("encode feed item: %w", err)
	}
	ctx, cancel := within(ctx, f.cfg.Timeout)
	defer cancel()
	m := nats.NewMsg(nodeSubject(feedPut, node) + events.EscapeToken(item.Kind) + "." + events.EscapeToken(item.UID))
	m.Data = data
	m.Header[headerExpectedStream] = []string{feedStream}
	if item.Gone {
		m.Header[headerTTL] = []string{goneLife}
	}
	answer, err := f.nc.RequestMsgWithContext(ctx, m)
	if errors.Is(err, nats.ErrNoResponders) {
		err = errors.Join(err, f.make(ctx))
	}
	if err != nil {
		return temporaryIf(err, "put feed item")
	}
	if _, err := readAck(answer.Data); err != nil {
		return fmt.Errorf("put feed item: %w", err)
	}
	return nil
}

// nodeSubject starts the subjects of a node.
func nodeSubject(prefix, node string) string { return prefix + "." + events.EscapeToken(node) + "." }

// Follow implements [events.FeedReader]. It survives the loss of the connection
// and of the stream: it then delivers again what is there.
func (f *Feed) Follow(ctx context.Context, node string, fn func(events.FeedItem) error) error {
	if node == "" {
		return fmt.Errorf("follow feed: %w: no node", events.ErrInvalid)
	}
	// Live first, then what is there: between the two nothing can be missed.
	live, err := f.nc.SubscribeSync(nodeSubject(feedLive, node) + ">")
	if err != nil {
		return fmt.Errorf("follow feed: %w", err)
	}
	defer func() { _ = live.Unsubscribe() }() // fails only if the connection is gone
	if err := live.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("follow feed: %w", err)
	}
	w := &follower{feed: f, node: node, live: live, fn: fn, newest: map[string]uint64{}}
	for {
		w.position = map[string]uint64{}
		for again := true; again; {
			if again, err = w.session(ctx); err != nil {
				return err
			}
		}
	}
}

// follower delivers one node's items to a function.
type follower struct {
	feed *Feed
	node string
	live *nats.Subscription
	fn   func(events.FeedItem) error

	position map[string]uint64 // by subject: sequence in the stream of what was delivered
	newest   map[string]uint64 // by subject: sequence in the log of what was delivered
}

// session delivers what is there and then follows, until it is time to look
// again (true) or the connection was lost and with it perhaps the stream (false).
func (w *follower) session(ctx context.Context) (again bool, err error) {
	session, end := context.WithTimeout(ctx, rereadAfter)
	defer end()
	reconnected := w.feed.nc.StatusChanged(nats.CONNECTED)
	watched := make(chan bool, 1)
	go func() {
		lost := false
		for range reconnected {
			lost = true
			end()
		}
		watched <- lost
	}()
	err = w.follow(session)
	w.feed.nc.RemoveStatusListener(reconnected) // closes it
	lost := <-watched
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case session.Err() != nil && errors.Is(err, session.Err()):
		return !lost, nil
	default:
		return false, err
	}
}

func (w *follower) follow(ctx context.Context) error {
	if err := w.snapshot(ctx); err != nil {
		return err
	}
	for {
		m, err := w.live.NextMsgWithContext(ctx)
		if err != nil {
			return fmt.Errorf("follow feed: %w", err)
		}
		seq, err := sequenceOf(m)
		if err != nil {
			return fmt.Errorf("follow feed: %w", err)
		}
		if seq <= w.position[m.Header.Get(headerStoredSubject)] {
			continue // the snapshot had it, or what came after it
		}
		if err := w.deliver(m.Header.Get(headerStoredSubject), seq, m.Data); err != nil {
			return err
		}
	}
}

// snapshot delivers what is there, oldest first. It keeps trying while the
// server or the stream is not there.
func (w *follower) snapshot(ctx context.Context) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		fatal, err := w.trySnapshot(ctx)
		if err == nil || fatal {
			return err
		}
		w.feed.cfg.Logger.Warn("feed cannot be read", zap.String("node", w.node), zap.Error(err))
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// trySnapshot reports whether its error is one that trying again does not help.
func (w *follower) trySnapshot(ctx context.Context) (fatal bool, err error) {
	c, err := w.feed.js.CreateConsumer(ctx, feedStream, js.ConsumerConfig{
		DeliverPolicy:     js.DeliverLastPerSubjectPolicy,
		FilterSubject:     nodeSubject(feedPut, w.node) + ">",
		AckPolicy:         js.AckNonePolicy,
		InactiveThreshold: consumerLife,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed), fmt.Errorf("make consumer: %w", err)
	}
	defer dropConsumer(w.feed.js, feedStream, c.CachedInfo().Name, w.feed.cfg.Logger)
	for received := uint64(0); ; {
		n, fatal, err := w.fetch(c)
		if err != nil || ctx.Err() != nil {
			return fatal || ctx.Err() != nil, errors.Join(err, ctx.Err())
		}
		if received += n; n > 0 {
			continue
		}
		// Nothing more came. Is that all, or was it lost or late?
		info, err := c.Info(ctx)
		switch {
		case err != nil:
			return false, fmt.Errorf("read consumer: %w", err)
		case info.Delivered.Consumer != received:
			return false, fmt.Errorf("%d items came of %d", received, info.Delivered.Consumer)
		case info.NumPending == 0:
			return false, nil
		}
	}
}

// fetch delivers what is there of a consumer, up to a number of items. An error
// of the function is fatal.
func (w *follower) fetch(c js.Consumer) (n uint64, fatal bool, err error) {
	batch, err := c.FetchNoWait(snapshotFetch)
	if err != nil {
		return 0, false, fmt.Errorf("fetch items: %w", err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return n, false, fmt.Errorf("fetch items: %w", err)
		}
		n++
		if meta.Sequence.Stream == w.position[m.Subject()] {
			continue // nothing new since it was delivered
		}
		if err := w.deliver(m.Subject(), meta.Sequence.Stream, m.Data()); err != nil {
			return n, true, err
		}
	}
	if err := batch.Error(); err != nil {
		return n, false, fmt.Errorf("fetch items: %w", err)
	}
	return n, false, nil
}

// deliver gives an item to the function unless a newer one was given.
func (w *follower) deliver(subject string, seq uint64, data []byte) error {
	w.position[subject] = seq
	var item events.FeedItem
	if err := json.Unmarshal(data, &item); err != nil {
		w.feed.cfg.Logger.Error("feed item cannot be read, passed over", zap.String("node", w.node), zap.Uint64("seq", seq), zap.Error(err))
		return nil
	}
	if item.Seq < w.newest[subject] {
		return nil
	}
	w.newest[subject] = item.Seq
	return w.fn(item)
}

// What the server adds to what it sends on: the subject and the sequence that
// the message has in its stream.
const (
	headerStoredSubject = "Nats-Subject"
	headerSequence      = "Nats-Sequence"
)

func sequenceOf(m *nats.Msg) (uint64, error) {
	seq, err := strconv.ParseUint(m.Header.Get(headerSequence), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read header %s: %w", headerSequence, err)
	}
	return seq, nil
}
