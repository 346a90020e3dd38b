package jetstream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"periplus.dev/events"
)

// rig is a server with a log, and the means to disturb both.
type rig struct {
	*Log
	t      *testing.T
	server *Server
	conn   *Conn
	n      int
}

func newRig(t *testing.T, cfg LogConfig) *rig {
	t.Helper()
	r := &rig{t: t}
	var err error
	if r.server, err = Start(t.Context(), Config{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.server.Close(); err != nil {
			t.Error(err)
		}
	})
	if r.conn, err = r.server.Connect(); err != nil {
		t.Fatal(err)
	}
	if r.Log, err = Open(t.Context(), r.conn, cfg); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) propose(name, fact string, after uint64) events.Proposal {
	r.n++
	id := fmt.Sprintf("id-%06d", r.n)
	k := events.Key{Resource: "configmaps", Namespace: "default", Name: name}
	p := events.New(k.Wanted(), after, events.TypeOf("configmap", fact), events.Ref{Change: id}, events.State{UID: name})
	p.ID, p.Source, p.Actor, p.Time = id, events.DoorSource, "user:alice", time.Unix(1_800_000_000, 0).UTC()
	return p
}

func (r *rig) must(ps ...events.Proposal) uint64 {
	r.t.Helper()
	seqs, err := r.Append(r.t.Context(), ps...)
	if err != nil {
		r.t.Fatal(err)
	}
	return seqs[0]
}

var errStop = errors.New("stop")

// TestForgedMessages: what is not an event is passed over, counted, and neither
// blocks its subject nor shows as its last event.
func TestForgedMessages(t *testing.T) {
	logger, logs, _ := said("")
	r := newRig(t, LogConfig{Logger: logger})
	first := r.must(r.propose("a", events.FactCreated, 0))
	subject := r.subject(r.propose("a", events.FactCreated, 0).Subject)
	stolen := r.message(write{Proposal: r.propose("b", events.FactCreated, 0), subject: subject}, false)
	stolen.Header, _ = encode(r.propose("b", events.FactCreated, 0).Event)
	for _, m := range []*nats.Msg{
		{Subject: subject, Data: []byte(`{"stream":"LOG","seq":7}`)},
		{Subject: r.cfg.Prefix + ".nonsense", Data: []byte("x")},
		stolen, // a valid event of another object
	} {
		if _, err := r.conn.nc.RequestMsg(m, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := r.At(t.Context(), 2); ok || err != nil {
		t.Errorf("event 2: %v, %v", ok, err)
	}
	last, ok, err := r.Last(t.Context(), r.propose("a", events.FactCreated, 0).Subject)
	if err != nil || !ok || last.Seq != first {
		t.Errorf("last is %d, %v, %v; want %d", last.Seq, ok, err, first)
	}
	if _, err := r.Append(t.Context(), r.propose("a", events.FactCreated, 0)); !errors.Is(err, events.ErrConflict) {
		t.Errorf("name is taken, append: %v", err)
	}
	next := r.must(r.propose("a", events.FactDataChanged, first))
	before := r.Dropped()
	var got []uint64
	err = r.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error {
		if got = append(got, e.Seq); e.Seq == next {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) || len(got) != 2 || got[0] != first {
		t.Errorf("read %v, %v; want %d and %d", got, err, first, next)
	}
	if n := r.Dropped() - before; n != 3 {
		t.Errorf("%d messages were counted as dropped, want 3", n)
	}
	reports := logs.FilterMessage("message in the log is not a valid event, passed over").FilterField(zap.Uint64("seq", 2))
	if reports.Len() == 0 {
		t.Errorf("not reported: %v", logs.All())
	}
}

// TestReaderSurvives the loss of its consumer and of its connection.
func TestReaderSurvives(t *testing.T) {
	r := newRig(t, LogConfig{})
	arrived := make(chan uint64)
	var g errgroup.Group
	g.Go(func() error {
		next := uint64(1)
		return r.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error {
			if e.Seq != next {
				return fmt.Errorf("event %d in place %d", e.Seq, next)
			}
			next++
			arrived <- e.Seq
			if e.Seq == 6 {
				return errStop
			}
			return nil
		})
	})
	add := func(n int) {
		r.must(r.propose(fmt.Sprint("c", n), events.FactCreated, 0))
		if seq := <-arrived; seq != uint64(n) {
			t.Errorf("event %d arrived, want %d", seq, n)
		}
	}
	add(1)
	add(2)
	r.dropConsumers()
	add(3)
	r.dropConsumers()
	add(4)
	if err := r.conn.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	connected(r.conn) // an append while there is no connection is refused
	add(5)
	add(6)
	if err := g.Wait(); !errors.Is(err, errStop) {
		t.Errorf("read: %v", err)
	}
}

func (r *rig) dropConsumers() {
	r.t.Helper()
	s, err := r.js.Stream(r.t.Context(), r.cfg.Stream)
	if err != nil {
		r.t.Fatal(err)
	}
	names := s.ConsumerNames(r.t.Context())
	for name := range names.Name() {
		if err := s.DeleteConsumer(r.t.Context(), name); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := names.Err(); err != nil {
		r.t.Fatal(err)
	}
}

// TestGap: a log out of which something was taken is not read as if nothing had
// happened.
func TestGap(t *testing.T) {
	r := newRig(t, LogConfig{Stream: "OTHER", Prefix: "pp.other"})
	api := r.js
	loose := LogConfig{}.withDefaults(true).stream()
	loose.DenyDelete = false
	s, err := api.CreateStream(t.Context(), loose)
	if err != nil {
		t.Fatal(err)
	}
	l, err := js.New(r.conn.nc)
	if err != nil {
		t.Fatal(err)
	}
	log := &Log{cfg: LogConfig{}.withDefaults(true), conn: r.conn, js: l, log: r.log, batches: make(chan struct{}, 1)}
	log.joiner = &joiner{commit: log.commit, publish: log.publish, from: -1}
	for n := range 3 {
		if _, err := log.Append(t.Context(), r.propose(fmt.Sprint("c", n), events.FactCreated, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteMsg(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	var got []uint64
	err = log.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error { got = append(got, e.Seq); return nil })
	if !errors.Is(err, events.ErrGap) || len(got) != 1 {
		t.Errorf("read %v, %v; want event 1 and %v", got, err, events.ErrGap)
	}
}

// TestOutcomes: what an append says when it cannot know, and when it can.
func TestOutcomes(t *testing.T) {
	r := newRig(t, LogConfig{})
	soon, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err := r.Append(soon, r.propose("a", events.FactCreated, 0))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, events.ErrConflict) {
		t.Errorf("append out of time: %v", err)
	}
	if err := r.js.DeleteStream(t.Context(), r.cfg.Stream); err != nil {
		t.Fatal(err)
	}
	for _, ps := range [][]events.Proposal{
		{r.propose("b", events.FactCreated, 0)},
		{r.propose("c", events.FactCreated, 0), r.propose("d", events.FactCreated, 0)},
	} {
		if _, err := r.Append(t.Context(), ps...); !errors.Is(err, events.ErrTemporary) {
			t.Errorf("append of %d without a stream: %v, want %v", len(ps), err, events.ErrTemporary)
		}
	}
	r.conn.Close()
	_, err = r.Append(t.Context(), r.propose("e", events.FactCreated, 0))
	if err == nil || errors.Is(err, events.ErrTemporary) || errors.Is(err, events.ErrConflict) {
		t.Errorf("append on a closed connection: %v, want an unknown outcome", err)
	}
	if err := r.Read(t.Context(), 1, func(events.Recorded, uint64) error { return nil }); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("read on a closed connection: %v", err)
	}
}

func TestAPIErrorOutcome(t *testing.T) {
	for _, test := range []struct {
		answer string
		want   error
	}{
		{`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"}}`, errRefused},
		{`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`, errRefused},
		{`{"error":{"code":400,"err_code":10201,"description":"duplicate"}}`, errRefused},
		{`{"error":{"code":503,"err_code":10047,"description":"insufficient storage"}}`, events.ErrTemporary},
		{`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`, events.ErrTemporary},
		{`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}`, events.ErrTooLarge},
	} {
		if _, err := readAck([]byte(test.answer)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.answer, err, test.want)
		}
	}
	for _, answer := range []string{
		``, `{}`, `{"error":{"code":503,"err_code":10077,"description":"sync failed"}}`,
		`{"error":{"code":500,"err_code":10999,"description":"something new"}}`,
	} {
		_, err := readAck([]byte(answer))
		for _, known := range []error{errRefused, events.ErrTemporary, events.ErrTooLarge} {
			if err == nil || errors.Is(err, known) {
				t.Errorf("%s: %v, want an unknown outcome", answer, err)
			}
		}
	}
}

// TestLeases: of a log that keeps the last only, the last is there, with the same
// guard against lost updates, apart from the log of the cluster.
func TestLeases(t *testing.T) {
	r := newRig(t, LogConfig{Stream: "LEASES", Prefix: "pp.lease", KeepLast: 1})
	cluster, err := Open(t.Context(), r.conn, LogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r.must(r.propose("a", events.FactCreated, 0))
	r.must(r.propose("b", events.FactCreated, 0))
	r.must(r.propose("a", events.FactDataChanged, 1))
	lost := r.propose("a", events.FactDataChanged, 1)
	if _, err := r.Append(t.Context(), lost); !errors.Is(err, events.ErrConflict) {
		t.Errorf("append: %v, want %v", err, events.ErrConflict)
	}
	r.must(r.propose("a", events.FactDataChanged, 3))
	var got []uint64
	err = r.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error {
		if got = append(got, e.Seq); e.Seq == 4 {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) || fmt.Sprint(got) != "[2 4]" {
		t.Errorf("read %v, %v; want 2 and 4", got, err)
	}
	if head, err := cluster.Head(t.Context()); head != 0 || err != nil {
		t.Errorf("head of the cluster's log: %d, %v", head, err)
	}
}

// TestManySinglesAreJoined: with more writers than a round has to have, batches
// are used, and a batch is taken apart again when one of it loses a race.
func TestManySinglesAreJoined(t *testing.T) {
	r := newRig(t, LogConfig{JoinFrom: 4})
	const callers, each = 32, 10
	var proposals [callers][each]events.Proposal
	for c := range callers {
		for n := range each {
			proposals[c][n] = r.propose(fmt.Sprintf("c%d-%d", c, n), events.FactCreated, 0)
		}
	}
	r.must(r.propose("taken", events.FactCreated, 0))
	late := r.propose("taken", events.FactCreated, 0)
	var g errgroup.Group
	for c := range callers {
		g.Go(func() error {
			for _, p := range proposals[c] {
				if _, err := r.Append(t.Context(), p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		if _, err := r.Append(t.Context(), late); !errors.Is(err, events.ErrConflict) {
			return fmt.Errorf("append of a taken name: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	head, err := r.Head(t.Context())
	if err != nil || head != callers*each+1 {
		t.Fatalf("head is %d, %v; want %d", head, err, callers*each+1)
	}
	joined := 0
	for seq := uint64(1); seq <= head; seq++ {
		m, _, err := r.get(t.Context(), getRequest{Seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		if len(m.header[headerBatchID]) > 0 {
			joined++
		}
	}
	if joined == 0 {
		t.Error("nothing was joined")
	}
}

// TestFollowerSurvives the loss of its connection and, meanwhile, of the stream:
// it delivers what the new one holds, whose sequences start again.
func TestFollowerSurvives(t *testing.T) {
	r := newRig(t, LogConfig{})
	feed, err := OpenFeed(t.Context(), r.conn, FeedConfig{})
	if err != nil {
		t.Fatal(err)
	}
	put := func(f *Feed, uid string, seq uint64) {
		t.Helper()
		if err := f.Put(t.Context(), "n1", events.FeedItem{Kind: events.FeedPods, UID: uid, Seq: seq, Gone: uid == "gone"}); err != nil {
			t.Fatal(err)
		}
	}
	put(feed, "a", 1)
	put(feed, "b", 2)
	put(feed, "gone", 2)
	if m, err := lastOf(t, r, "FEED", "pp.feed.n1.pods.gone"); err != nil || m.Header.Get("Nats-TTL") != goneLife {
		t.Errorf("an item that is gone is kept for %q, %v; want %q", m.Header.Get("Nats-TTL"), err, goneLife)
	}
	node, err := r.server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	reader := &Feed{cfg: feed.cfg, nc: node.nc}
	if reader.js, err = js.New(node.nc); err != nil {
		t.Fatal(err)
	}
	items := make(chan events.FeedItem)
	var g errgroup.Group
	g.Go(func() error {
		return reader.Follow(t.Context(), "n1", func(i events.FeedItem) error {
			if items <- i; i.UID == "end" {
				return errStop
			}
			return nil
		})
	})
	for _, want := range []string{"a", "b", "gone"} {
		if i := <-items; i.UID != want {
			t.Errorf("item %s came, want %s", i.UID, want)
		}
	}
	if err := r.js.DeleteStream(t.Context(), "FEED"); err != nil {
		t.Fatal(err)
	}
	if feed, err = OpenFeed(t.Context(), r.conn, FeedConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := node.nc.ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	put(feed, "a", 5)
	for i := range items {
		if i.UID == "a" && i.Seq == 5 {
			break
		}
	}
	put(feed, "end", 6)
	for i := range items {
		if i.UID == "end" {
			break
		}
	}
	if err := g.Wait(); !errors.Is(err, errStop) {
		t.Errorf("follow: %v", err)
	}
}

func lastOf(t *testing.T, r *rig, stream, subject string) (*js.RawStreamMsg, error) {
	t.Helper()
	s, err := r.js.Stream(t.Context(), stream)
	if err != nil {
		return nil, err
	}
	return s.GetLastMsgForSubject(t.Context(), subject)
}
