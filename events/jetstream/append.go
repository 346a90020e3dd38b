package jetstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"periplus.dev/events"
)

// Headers that the server acts on.
const (
	headerExpectedStream = "Nats-Expected-Stream"
	headerExpectedLast   = "Nats-Expected-Last-Subject-Sequence"
	headerMessageID      = "Nats-Msg-Id"
	headerBatchID        = "Nats-Batch-Id"
	headerBatchSequence  = "Nats-Batch-Sequence"
	headerBatchCommit    = "Nats-Batch-Commit"
)

// Append implements [events.Log]. One proposal is one message with one fsync;
// several are an atomic batch, which costs some milliseconds whatever its size.
// Single proposals that come from many goroutines at once are joined.
func (l *Log) Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error) {
	ctx, cancel := within(ctx, l.cfg.Timeout)
	defer cancel()
	writes, err := l.prepare(proposals)
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	if err := l.conn.writable(); err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	began := time.Now()
	var seqs []uint64
	switch len(writes) {
	case 0:
		return nil, nil
	case 1:
		seqs, err = l.joiner.append(ctx, writes[0])
	default:
		seqs, err = l.commit(ctx, writes)
	}
	if took := time.Since(began); took > slowAppend {
		l.log.Warn("the log is slow", zap.String("stream", l.cfg.Stream), zap.Duration("took", took), zap.Int("events", len(writes)), zap.Error(err))
	}
	if err != nil {
		return nil, fmt.Errorf("append: %w", err)
	}
	l.head.note(slices.Max(seqs))
	return seqs, nil
}

// slowAppend is how long an append takes when the disk does not keep up.
const slowAppend = 2 * time.Second

// write is a proposal on its way to the stream.
type write struct {
	events.Proposal

	subject string
	header  nats.Header // its attributes; what goes out is a copy with the server's headers
	expect  uint64      // sequence that its subject has to end with; After, unless the subject ended
}

func (l *Log) prepare(proposals []events.Proposal) ([]write, error) {
	if len(proposals) > MaxBatch {
		return nil, fmt.Errorf("%w: %d proposals at once, at most %d", events.ErrTooLarge, len(proposals), MaxBatch)
	}
	writes := make([]write, 0, len(proposals))
	ids := make(map[string]bool, len(proposals))
	size := 0
	for _, p := range proposals {
		if err := events.Check(p); err != nil {
			return nil, err
		}
		if ids[p.ID] {
			return nil, fmt.Errorf("%w: id %s stands twice in one append", events.ErrInvalid, p.ID)
		}
		ids[p.ID] = true
		if size += len(p.Data); size > MaxBatchBytes {
			return nil, fmt.Errorf("%w: payloads together are over %d bytes", events.ErrTooLarge, MaxBatchBytes)
		}
		w := write{Proposal: p, subject: l.subject(p.Subject), expect: p.After}
		if len(w.subject) > maxSubjectBytes {
			return nil, fmt.Errorf("%s: %w: subject is %d bytes, at most %d", p.Type, events.ErrInvalid, len(w.subject), maxSubjectBytes)
		}
		var err error
		if w.header, err = encode(p.Event); err != nil {
			return nil, err
		}
		writes = append(writes, w)
	}
	return writes, nil
}

// commit publishes the writes. If the stream refuses them it looks why: what is
// recorded already counts as done, what follows an ended object is tried again
// with the sequence of that end, and what lost a race is a conflict.
func (l *Log) commit(ctx context.Context, writes []write) ([]uint64, error) {
	seqs, refused := l.publish(ctx, writes)
	if !errors.Is(refused, errRefused) {
		return seqs, refused
	}
	seqs, err := l.recorded(ctx, writes)
	if err != nil {
		return nil, fmt.Errorf("look for a recorded event: %w", err)
	}
	rest := make([]write, 0, len(writes))
	for i, w := range writes {
		if seqs[i] == 0 {
			rest = append(rest, w)
		}
	}
	if len(rest) == 0 {
		return seqs, nil
	}
	if err := l.aim(ctx, rest); err != nil {
		return nil, err
	}
	late, err := l.publish(ctx, rest)
	if errors.Is(err, errRefused) {
		return nil, fmt.Errorf("%w: %w", events.ErrConflict, err)
	}
	if err != nil {
		return nil, err
	}
	for i := range seqs {
		if seqs[i] == 0 {
			seqs[i], late = late[0], late[1:]
		}
	}
	return seqs, nil
}

// recorded finds the writes that an earlier append, whose answer its author
// never saw, has recorded; the rest is 0. A write stands at the end of its
// subject or right behind the event it was to follow, if anywhere; and all of
// them stand side by side, if one batch recorded them.
func (l *Log) recorded(ctx context.Context, writes []write) ([]uint64, error) {
	seqs := make([]uint64, len(writes))
	for i, w := range writes {
		seq, err := l.find(ctx, w)
		if err != nil {
			return nil, err
		}
		if seq == 0 {
			continue
		}
		seqs[i] = seq
		if seq <= uint64(i) {
			continue
		}
		first := seq - uint64(i)
		whole, err := l.holds(ctx, first, writes)
		if err != nil {
			return nil, err
		}
		if whole {
			for j := range seqs {
				seqs[j] = first + uint64(j)
			}
			return seqs, nil
		}
	}
	return seqs, nil
}

// find returns the sequence of the event that records w, or 0.
func (l *Log) find(ctx context.Context, w write) (uint64, error) {
	for _, req := range []getRequest{{LastBySubject: w.subject}, {NextBySubject: w.subject, Seq: w.After + 1}} {
		m, ok, err := l.get(ctx, req)
		if err != nil {
			return 0, err
		}
		if ok && m.id() == w.ID {
			return m.seq, nil
		}
	}
	return 0, nil
}

// holds reports whether the events from sequence first on are the writes.
func (l *Log) holds(ctx context.Context, first uint64, writes []write) (bool, error) {
	for i, w := range writes {
		m, ok, err := l.get(ctx, getRequest{Seq: first + uint64(i)})
		if err != nil || !ok || m.id() != w.ID {
			return false, err
		}
	}
	return true, nil
}

// id is the event's id, or empty if the message has none that can be read.
func (m message) id() string {
	r := headerReader{h: m.header}
	return r.text(headerID)
}

// aim sets what each write expects its subject to end with, or reports a
// conflict. That is After, but the end of an object that is no more if After is
// 0; and messages that are not events do not move a subject on.
func (l *Log) aim(ctx context.Context, writes []write) error {
	seen := map[string]bool{}
	for i := range writes {
		w := &writes[i]
		if seen[w.subject] {
			continue
		}
		seen[w.subject] = true
		e, err := l.endOf(ctx, w.Subject)
		if err != nil {
			return fmt.Errorf("read last of %s: %w", w.Subject, err)
		}
		spec, _ := events.Lookup(e.event.Type)
		if e.event.Seq != w.After && (w.After != 0 || !spec.Terminal) {
			return fmt.Errorf("%s after %d, but its last is %d: %w", w.Subject, w.After, e.event.Seq, events.ErrConflict)
		}
		w.expect = e.seq
	}
	return nil
}

// publish sends the writes and returns their sequences. errRefused wraps a no
// that is due to what the stream holds.
func (l *Log) publish(ctx context.Context, writes []write) ([]uint64, error) {
	if len(writes) > 1 {
		return l.publishBatch(ctx, writes)
	}
	a, err := l.request(ctx, l.message(writes[0], true))
	if err != nil {
		return nil, err
	}
	return []uint64{a.Seq}, nil
}

// publishBatch sends an atomic batch. Only its last message asks for an answer,
// which speaks for all: nothing is recorded unless everything is.
func (l *Log) publishBatch(ctx context.Context, writes []write) ([]uint64, error) {
	select {
	case l.batches <- struct{}{}:
		defer func() { <-l.batches }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other batches: %w: %w", events.ErrTemporary, ctx.Err())
	}
	id, seen := uuid.NewString(), map[string]bool{}
	var last *nats.Msg
	for i, w := range writes {
		m := l.message(w, !seen[w.subject]) // later writes of a subject follow the first by their place
		seen[w.subject] = true
		m.Header[headerBatchID] = []string{id}
		m.Header[headerBatchSequence] = []string{strconv.Itoa(i + 1)}
		if i == len(writes)-1 {
			m.Header[headerBatchCommit] = []string{"1"}
			last = m
		} else if err := l.conn.nc.PublishMsg(m); err != nil {
			return nil, fmt.Errorf("publish batch: %w: %w", events.ErrTemporary, err) // without its end it is void
		}
	}
	a, err := l.request(ctx, last)
	if err != nil {
		return nil, err
	}
	if a.Count != len(writes) {
		return nil, fmt.Errorf("publish batch: %d of %d messages acknowledged", a.Count, len(writes))
	}
	seqs := make([]uint64, len(writes))
	for i := range seqs {
		seqs[i] = a.Seq - uint64(len(writes)-1-i)
	}
	return seqs, nil
}

// message is a write as it goes out.
func (l *Log) message(w write, check bool) *nats.Msg {
	h := make(nats.Header, len(w.header)+6)
	for name, values := range w.header {
		h[name] = slices.Clip(values)
	}
	h[headerExpectedStream] = []string{l.cfg.Stream}
	h[headerMessageID] = h[headerID]
	if check {
		h[headerExpectedLast] = []string{strconv.FormatUint(w.expect, 10)}
	}
	return &nats.Msg{Subject: w.subject, Header: h, Data: w.Data}
}

// request publishes and waits for the answer. If the connection is lost before
// it comes, it will not come any more, and the outcome is unknown.
func (l *Log) request(ctx context.Context, m *nats.Msg) (ack, error) {
	if err := ctx.Err(); err != nil {
		return ack{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer l.conn.onLoss(func() { cancel(errNoAnswer) })()
	answer, err := l.conn.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		if errors.Is(context.Cause(ctx), errNoAnswer) {
			err = errNoAnswer
		}
		return ack{}, temporaryIf(err, "publish")
	}
	return readAck(answer.Data)
}

// errNoAnswer leaves the outcome of an append unknown.
var errNoAnswer = errors.New("the connection to the log was lost before the answer")
