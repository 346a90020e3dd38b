package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"periplus.dev/events"
)

// LogConfig of one log on a server. The zero value is the log of the cluster.
type LogConfig struct {
	// Stream is the name of the NATS stream; "LOG" if empty.
	Stream string
	// Prefix starts its subjects in place of [events.SubjectPrefix], which is
	// what it is if empty.
	Prefix string
	// KeepLast, if not zero, keeps only so many events of each subject. Readers
	// of such a log do not look for gaps, because it is full of them.
	KeepLast int
	// Replicas is on how many servers each event is; 1 if zero.
	Replicas int
	// JoinFrom is how many single appends have to wait at once to be joined into
	// one atomic batch; 20 if zero, never if negative. It pays where the server
	// syncs each message, and nowhere else.
	JoinFrom int
	// Live is where the server sends on what is recorded, for readers that are
	// content with what comes: subjects below Prefix become subjects below Live.
	// If it and Prefix are empty, it is "pp.live", unless the server is in this
	// process and nobody else can connect; otherwise nothing is sent on.
	Live string
	// HeadFile remembers up to where the log was acknowledged, so that one that
	// became shorter is noticed. A server in this process has one in its own
	// directory; if it is empty for another one, nothing is remembered.
	HeadFile string
	// Timeout bounds an append and a look-up when the context does not; 15
	// seconds if zero, which is longer than a new leader takes to be elected.
	Timeout time.Duration
	// Logger takes what operators have to know; nil for nothing.
	Logger *zap.Logger
}

// Limits of a log.
const (
	// LiveSubjects is what readers of the cluster's log subscribe to. Never to the
	// log's own subjects: these also carry what the log then refuses.
	LiveSubjects      = liveSubjectPrefix + ".>"
	liveSubjectPrefix = "pp.live"

	// MaxBatch is how many proposals one append may hold: the server's limit.
	MaxBatch = 1000
	// MaxBatchBytes limits the payloads of one append together.
	MaxBatchBytes = 32 << 20

	maxMessageBytes = 1 << 20
	// duplicateWindow is how long the server knows the ids of past messages. Its
	// length costs memory and start time; the expected sequence keeps an event
	// from being recorded twice without it.
	duplicateWindow = 30 * time.Second
	defaultTimeout  = 15 * time.Second
	defaultJoinFrom = 20
	// batchesInFlight stays below the server's limit of 50 per stream.
	batchesInFlight = 16
)

// Log is an [events.Log] in a JetStream stream. All methods may be called
// concurrently.
type Log struct {
	cfg     LogConfig
	conn    *Conn
	js      js.JetStream
	log     *zap.Logger
	head    *headFile // nil if its streams may have gaps
	dropped atomic.Uint64
	batches chan struct{} // holds one token for each atomic batch in flight
	joiner  *joiner
}

var _ events.Log = (*Log)(nil)

// Open makes the stream if it is not there and returns the log in it. The log
// lives as long as the connection; there is nothing to close. A stream that is
// not as long as is known is a [DamageError]; one with settings that do not suit a log
// and cannot be changed is an error that names them.
func Open(ctx context.Context, c *Conn, cfg LogConfig) (*Log, error) {
	cfg = cfg.withDefaults(c.server == nil || c.server.cfg.Listen != "")
	api, err := js.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	ctx, cancel := within(ctx, cfg.Timeout)
	defer cancel()
	stream, err := openStream(ctx, api, cfg.stream(), cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	l := &Log{cfg: cfg, conn: c, js: api, log: cfg.Logger, batches: make(chan struct{}, batchesInFlight)}
	l.joiner = &joiner{commit: l.commit, publish: l.publish, from: cfg.JoinFrom, timeout: cfg.Timeout}
	if cfg.KeepLast > 0 {
		return l, nil
	}
	if l.head, err = c.head(cfg); err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	if err := l.whole(ctx, stream); err != nil {
		return nil, fmt.Errorf("open log %s: %w", cfg.Stream, err)
	}
	return l, nil
}

// whole compares what the server says about the stream with what is known.
func (l *Log) whole(ctx context.Context, stream js.Stream) error {
	info, err := stream.Info(ctx, js.WithDeletedDetails(true))
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	s, head := info.State, l.head.sequence()
	d := &DamageError{Stream: l.cfg.Stream, Head: max(head, s.LastSeq)}
	switch {
	case s.Msgs == 0 && s.LastSeq > 0:
		d.Seq, d.Reason = 1, fmt.Sprintf("none of %d events is there", s.LastSeq)
	case s.Msgs > 0 && s.FirstSeq > 1:
		d.Seq, d.Reason = 1, fmt.Sprintf("the first event is %d", s.FirstSeq)
	case s.Msgs > 0 && len(s.Deleted) > 0:
		d.Seq, d.Reason = slices.Min(s.Deleted), fmt.Sprintf("%d events are missing", len(s.Deleted))
	case s.LastSeq < head:
		d.Seq, d.Reason = s.LastSeq+1, fmt.Sprintf("the log ends with event %d", s.LastSeq)
	default:
		l.head.note(s.LastSeq)
		return nil
	}
	return d
}

// withDefaults fills in what is empty; heard says that others can connect.
func (c LogConfig) withDefaults(heard bool) LogConfig {
	if c.Stream == "" {
		c.Stream = "LOG"
	}
	if c.Prefix == "" {
		c.Prefix = events.SubjectPrefix
		if c.Live == "" && heard {
			c.Live = liveSubjectPrefix
		}
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.JoinFrom == 0 {
		c.JoinFrom = defaultJoinFrom
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// within bounds ctx by a timeout if it has no deadline.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, timeout)
}

// subject is where the events of s stand in this log.
func (l *Log) subject(s events.Subject) string {
	return l.cfg.Prefix + strings.TrimPrefix(s.String(), events.SubjectPrefix)
}

func (l *Log) parseSubject(subject string) (events.Subject, error) {
	rest, ok := strings.CutPrefix(subject, l.cfg.Prefix+".")
	if !ok {
		return events.Subject{}, fmt.Errorf("subject %q is not below %s", subject, l.cfg.Prefix)
	}
	return events.ParseSubject(events.SubjectPrefix + "." + rest)
}

// Head implements [events.Log].
func (l *Log) Head(ctx context.Context) (uint64, error) {
	ctx, cancel := within(ctx, l.cfg.Timeout)
	defer cancel()
	s, err := l.js.Stream(ctx, l.cfg.Stream)
	if err != nil {
		return 0, fmt.Errorf("read head of %s: %w", l.cfg.Stream, err)
	}
	return s.CachedInfo().State.LastSeq, nil
}

// Last implements [events.Log]. A message at the end of the subject that is not
// a valid event is passed over.
func (l *Log) Last(ctx context.Context, s events.Subject) (events.Recorded, bool, error) {
	end, err := l.endOf(ctx, s)
	if err != nil {
		return events.Recorded{}, false, fmt.Errorf("read last of %s: %w", s, err)
	}
	return end.event, end.event.Seq != 0, nil
}

// At returns the event with a sequence; ok is false if there is none, or
// something there that is not a valid event.
func (l *Log) At(ctx context.Context, seq uint64) (r events.Recorded, ok bool, err error) {
	if seq == 0 {
		return events.Recorded{}, false, nil
	}
	m, ok, err := l.get(ctx, getRequest{Seq: seq})
	if err != nil || !ok {
		return events.Recorded{}, false, err
	}
	r, ok = l.read(m)
	return r, ok, nil
}

// Dropped is how many messages this log met, while reading, that were not valid
// events. Each is logged as an error. One that is met again counts again.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// message is what the stream holds at a sequence.
type message struct {
	subject string
	seq     uint64
	stored  time.Time
	header  nats.Header
	data    []byte
}

// read makes an event of a message, or counts and reports why it is none.
func (l *Log) read(m message) (events.Recorded, bool) {
	s, err := l.parseSubject(m.subject)
	if err == nil {
		var e events.Event
		if e, err = decode(s, m.header, m.data); err == nil {
			return events.Recorded{Event: e, Seq: m.seq, Stored: m.stored.UTC()}, true
		}
	}
	l.dropped.Add(1)
	l.log.Error("message in the log is not a valid event, passed over",
		zap.String("stream", l.cfg.Stream), zap.Uint64("seq", m.seq), zap.String("subject", m.subject), zap.Error(err))
	return events.Recorded{}, false
}

// end is how a subject ends.
type end struct {
	event events.Recorded // its last valid event; zero if there is none
	seq   uint64          // of its last message, valid or not; 0 if there is none
}

// endOf looks up how a subject ends.
func (l *Log) endOf(ctx context.Context, s events.Subject) (end, error) {
	m, ok, err := l.get(ctx, getRequest{LastBySubject: l.subject(s)})
	if err != nil || !ok {
		return end{}, err
	}
	e := end{seq: m.seq}
	if e.event, ok = l.read(m); ok {
		return e, nil
	}
	err = l.each(ctx, []string{l.subject(s)}, func(r events.Recorded) error {
		e.event = r
		return nil
	})
	return e, err
}

// getRequest asks for one message: by sequence, the last of a subject, or the
// first of a subject from a sequence on.
type getRequest struct {
	Seq           uint64 `json:"seq,omitempty"`
	LastBySubject string `json:"last_by_subj,omitempty"`
	NextBySubject string `json:"next_by_subj,omitempty"`
}

// codeNotFound is the server's error for a message that is not there.
const codeNotFound = 10037

// get asks the stream's leader, so that what was acknowledged is seen, which a
// direct get from a replica does not promise.
func (l *Log) get(ctx context.Context, req getRequest) (message, bool, error) {
	ctx, cancel := within(ctx, l.cfg.Timeout)
	defer cancel()
	body, err := json.Marshal(req)
	if err != nil {
		return message{}, false, fmt.Errorf("encode request: %w", err)
	}
	answer, err := l.conn.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+l.cfg.Stream, body)
	if err != nil {
		return message{}, false, fmt.Errorf("get message: %w", err)
	}
	var got struct {
		Error   *apiError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return message{}, false, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == codeNotFound:
		return message{}, false, nil
	case got.Error != nil:
		return message{}, false, fmt.Errorf("get message: %w", got.Error)
	case got.Message == nil:
		return message{}, false, errors.New("get message: empty answer")
	}
	m := message{subject: got.Message.Subject, seq: got.Message.Seq, stored: got.Message.Time, data: got.Message.Data}
	if len(got.Message.Header) > 0 {
		if m.header, err = nats.DecodeHeadersMsg(got.Message.Header); err != nil {
			return message{}, false, fmt.Errorf("read headers at sequence %d: %w", m.seq, err)
		}
	}
	return m, true, nil
}
