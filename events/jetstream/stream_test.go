package jetstream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"periplus.dev/events"
)

// TestStreamSettings: what a log depends on is set right if the server lets it
// be; otherwise Open says what is wrong. What an operator chose stays.
func TestStreamSettings(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*js.StreamConfig)
		fails  string // empty if it is to be put right
	}{
		{"nothing", func(*js.StreamConfig) {}, ""},
		{"no republish", func(c *js.StreamConfig) { c.RePublish = nil }, ""},
		{"other republish", func(c *js.StreamConfig) { c.RePublish.Destination = "elsewhere.>" }, ""},
		{"expiry", func(c *js.StreamConfig) { c.MaxAge = time.Hour }, ""},
		{"few messages", func(c *js.StreamConfig) { c.MaxMsgs = 10 }, ""},
		{"small messages", func(c *js.StreamConfig) { c.MaxMsgSize = 100 }, ""},
		{"old ones go", func(c *js.StreamConfig) { c.Discard = js.DiscardOld }, ""},
		{"operator's", func(c *js.StreamConfig) { c.MaxBytes, c.Description = 1<<30, "ours" }, ""},
		{"memory", func(c *js.StreamConfig) { c.Storage = js.MemoryStorage }, "storage is Memory, want File"},
		{"work queue", func(c *js.StreamConfig) { c.Retention, c.Discard = js.WorkQueuePolicy, js.DiscardOld }, "retention is WorkQueue, want Limits"},
		{"expiring messages", func(c *js.StreamConfig) { c.AllowMsgTTL = true }, "message expiry is true, want false"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, c := served(t, Config{Listen: "127.0.0.1:0", Token: "t"})
			api, err := js.New(c.nc)
			must(t, err)
			made := LogConfig{}.withDefaults(true).stream()
			test.change(&made)
			_, err = api.CreateStream(t.Context(), made)
			must(t, err)
			_, err = Open(t.Context(), c, LogConfig{})
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("open: %v, want %s", err, test.fails)
				}
				return
			}
			must(t, err)
			stream, err := api.Stream(t.Context(), "LOG")
			must(t, err)
			is := stream.CachedInfo().Config
			if is.MaxBytes != made.MaxBytes || is.Description != made.Description {
				t.Errorf("the operator's settings were changed: %+v", is)
			}
			if more := adopt(&is, LogConfig{}.withDefaults(true).stream()); len(more) > 0 {
				t.Errorf("still: %v", more)
			}
			must(t, s.Close())
		})
	}
}

// served is a server with a connection to it.
func served(t *testing.T, cfg Config) (*Server, *Conn) {
	t.Helper()
	cfg.Dir = t.TempDir()
	s, err := Start(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	c, err := s.Connect()
	must(t, err)
	return s, c
}

// TestOutsideReader: a client with the reader's credentials hears what the log
// recorded and nothing that it refused, and can do nothing else.
func TestOutsideReader(t *testing.T) {
	s, c := served(t, Config{Listen: "127.0.0.1:0", Token: "all", ReadToken: "some"})
	l, err := Open(t.Context(), c, LogConfig{})
	must(t, err)
	r := &rig{t: t, Log: l}
	refused := make(chan error, 10)
	nc, err := nats.Connect(s.URL(), nats.UserInfo(ReadUser, "some"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	must(t, err)
	defer nc.Close()
	live, err := nc.SubscribeSync(LiveSubjects)
	must(t, err)
	must(t, nc.Flush())
	p := r.propose("a", events.FactCreated, 0)
	r.must(p)
	if _, err := r.Append(t.Context(), r.propose("a", events.FactCreated, 0)); err == nil {
		t.Fatal("appended in conflict")
	}
	r.must(r.propose("b", events.FactCreated, 0))
	for i, want := range []string{"a", "b"} {
		m, err := live.NextMsg(20 * time.Second)
		must(t, err)
		seq, err := sequenceOf(m)
		if subject := "pp.live.obj.core.configmaps.default." + want; m.Subject != subject || err != nil || seq != uint64(i+1) {
			t.Errorf("message on %s with sequence %d, %v; want %s", m.Subject, seq, err, subject)
		}
		if m.Header.Get(headerID) == "" || m.Header.Get(headerStoredSubject) == "" {
			t.Errorf("headers %v", m.Header)
		}
	}
	for name, try := range map[string]func() error{
		"publish an event":      func() error { return nc.Publish("pp.log.obj.core.configmaps.default.x", nil) },
		"ask the server":        func() error { return nc.PublishRequest("$JS.API.STREAM.INFO.LOG", "pp.log.x", nil) },
		"read the log directly": func() error { _, err := nc.SubscribeSync("pp.log.>"); return err },
		"read the feed":         func() error { _, err := nc.SubscribeSync("pp.feedlive.>"); return err },
		"listen to everything":  func() error { _, err := nc.SubscribeSync(">"); return err },
	} {
		must(t, try())
		must(t, nc.Flush())
		if err := <-refused; !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if head, err := l.Head(t.Context()); err != nil || head != 2 {
		t.Errorf("head is %d, %v; want 2", head, err)
	}
}
