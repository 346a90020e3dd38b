package jetstream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"periplus.dev/events"
)

// Read implements [events.Log] with one consumer on the whole stream. A consumer
// that the server has lost is made again where it stood.
func (l *Log) Read(ctx context.Context, from uint64, fn func(r events.Recorded, head uint64) error) error {
	next := max(from, 1)
	c := l.cursor(nil, next)
	defer c.close()
	again := false // the gap before the current message was looked at twice
	for {
		m, pending, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case m.seq < next:
			continue
		case m.seq > next && l.cfg.KeepLast == 0 && !again:
			again = true
			c.restart(next)
			continue
		case m.seq > next && l.cfg.KeepLast == 0:
			return fmt.Errorf("read %s: %w: %d follows %d", l.cfg.Stream, events.ErrGap, m.seq, next-1)
		}
		again = false
		next = m.seq + 1
		l.head.note(m.seq)
		if r, ok := l.read(m); ok {
			if err := fn(r, m.seq+pending); err != nil {
				return err
			}
		}
	}
}

// Of calls fn with every event of an object that is recorded now, of both halves
// and all observers, in order. An error of fn ends it and is returned.
func (l *Log) Of(ctx context.Context, key events.Key, fn func(events.Recorded) error) error {
	if err := key.Valid(); err != nil {
		return fmt.Errorf("read history: %w: %w", events.ErrInvalid, err)
	}
	// The observer's token is a wildcard, which no observer can be called.
	const observer = "observer"
	wanted, observed := l.subject(key.Wanted()), l.subject(key.Observed(observer))
	head := len(l.cfg.Prefix) + len(".act.")
	return l.each(ctx, []string{wanted, observed[:head] + "*" + observed[head+len(observer):]}, fn)
}

// each calls fn with every valid event on the subjects that is recorded now.
func (l *Log) each(ctx context.Context, subjects []string, fn func(events.Recorded) error) error {
	c := l.cursor(subjects, 1)
	defer c.close()
	left, err := c.count(ctx)
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	for ; left > 0; left-- {
		m, _, err := c.next(ctx)
		if err != nil {
			return fmt.Errorf("read history: %w", err)
		}
		if r, ok := l.read(m); ok {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// cursor reads the messages of a stream in order, from a sequence on, without
// end. It is one ephemeral consumer of the server at a time, and makes another
// one when that is gone, was silent for too long, or left out a message.
type cursor struct {
	js       js.JetStream
	stream   string
	subjects []string // nil for all
	log      *zap.Logger

	from      uint64 // sequence to go on from
	delivered uint64 // how many messages the present consumer has delivered
	consumer  js.Consumer
	messages  js.MessagesContext
	pause     time.Duration // before the next attempt to make a consumer
}

const (
	consumerLife = 30 * time.Second // without its reader
	minPause     = 50 * time.Millisecond
	maxPause     = 2 * time.Second
)

func (l *Log) cursor(subjects []string, from uint64) *cursor {
	return &cursor{js: l.js, stream: l.cfg.Stream, subjects: subjects, from: from, log: l.log}
}

// next waits for the next message. pending is how many more were there when the
// server sent it. The error is the context's, or that the connection was closed.
func (c *cursor) next(ctx context.Context) (m message, pending uint64, err error) {
	for {
		if c.messages == nil {
			if err := c.open(ctx); err != nil {
				return message{}, 0, err
			}
		}
		raw, err := c.messages.Next(js.NextContext(ctx))
		if ctx.Err() != nil {
			return message{}, 0, ctx.Err()
		}
		if errors.Is(err, nats.ErrConnectionClosed) {
			return message{}, 0, fmt.Errorf("read %s: %w", c.stream, err)
		}
		var meta *js.MsgMetadata
		if err == nil {
			meta, err = raw.Metadata()
		}
		if err == nil && meta.Sequence.Consumer != c.delivered+1 {
			err = fmt.Errorf("message %d of the consumer after %d", meta.Sequence.Consumer, c.delivered)
		}
		if err != nil {
			c.log.Warn("log reader starts again", zap.String("stream", c.stream), zap.Uint64("from", c.from), zap.Error(err))
			c.restart(c.from)
			continue
		}
		c.delivered++
		c.from = meta.Sequence.Stream + 1
		c.pause = 0
		m := message{subject: raw.Subject(), seq: meta.Sequence.Stream, stored: meta.Timestamp, header: raw.Headers(), data: raw.Data()}
		return m, meta.NumPending, nil
	}
}

// open makes a consumer and keeps trying until it has one, ctx ends or the
// connection is closed.
func (c *cursor) open(ctx context.Context) error {
	for {
		err := c.try(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, js.ErrStreamNotFound):
			return fmt.Errorf("read %s: %w", c.stream, err)
		}
		c.log.Warn("log reader cannot start", zap.String("stream", c.stream), zap.Uint64("from", c.from), zap.Error(err))
		if err := c.wait(ctx); err != nil {
			return err
		}
	}
}

func (c *cursor) wait(ctx context.Context) error {
	c.pause = min(max(2*c.pause, minPause), maxPause)
	t := time.NewTimer(c.pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *cursor) try(ctx context.Context) error {
	consumer, err := c.js.CreateConsumer(ctx, c.stream, js.ConsumerConfig{
		DeliverPolicy:     js.DeliverByStartSequencePolicy,
		OptStartSeq:       c.from,
		AckPolicy:         js.AckNonePolicy,
		FilterSubjects:    c.subjects,
		InactiveThreshold: consumerLife,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fmt.Errorf("make consumer: %w", err)
	}
	c.consumer, c.delivered = consumer, 0
	if c.messages, err = consumer.Messages(); err != nil {
		return fmt.Errorf("start consumer: %w", err)
	}
	return nil
}

// count is how many messages there were to read when the consumer was made.
func (c *cursor) count(ctx context.Context) (uint64, error) {
	if c.messages == nil {
		if err := c.open(ctx); err != nil {
			return 0, err
		}
	}
	return c.consumer.CachedInfo().NumPending, nil
}

// restart lets go of the consumer; the next message comes from a new one.
func (c *cursor) restart(from uint64) {
	c.close()
	c.from = from
}

// close stops the consumer and tells the server that it is not needed. If that
// does not arrive, the server finds out by itself.
func (c *cursor) close() {
	if c.messages != nil {
		c.messages.Stop()
		c.messages = nil
	}
	if c.consumer == nil {
		return
	}
	dropConsumer(c.js, c.stream, c.consumer.CachedInfo().Name, c.log)
	c.consumer = nil
}

// dropConsumer tells the server that a consumer is not needed any more. It waits
// for a second at most and does not hang on the context of a reader that ended.
func dropConsumer(api js.JetStream, stream, name string, log *zap.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := api.DeleteConsumer(ctx, stream, name); err != nil {
		log.Debug("consumer is left to expire", zap.String("stream", stream), zap.String("consumer", name), zap.Error(err))
	}
}
