package jetstream

import (
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"periplus.dev/events"
	"periplus.dev/events/cloudevents"
)

func full() events.Event {
	p := events.New(events.Key{Resource: "pods", Namespace: "default", Name: "web-1"}.Observed("n1"), 7, events.PodStopping,
		events.Ref{Seq: 5_000_000_000, ID: "cause", Change: "change"}, events.Stopping{UID: "u", GraceSeconds: 30})
	p.ID, p.Source, p.Actor = "0190-1", events.NodeSource("n1"), "node:n1"
	p.Time = time.Date(2026, 1, 2, 3, 4, 5, 678_000_001, time.UTC)
	p.Reason, p.Trace = `he said "now", 100 %`, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	return p.Event
}

// TestEnvelopeIsCloudEvents reads the headers as the NATS binding says, with the
// SDK's own event type and another percent decoder, and wants a valid event with
// the very attributes that outsiders are shown.
func TestEnvelopeIsCloudEvents(t *testing.T) {
	person := full()
	person.Cause, person.CauseAt, person.Actor, person.Reason, person.Trace = "", 0, "user:alice", "", ""
	for _, e := range []events.Event{full(), person} {
		h, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		got := event.New(event.CloudEventsVersionV1)
		for name, values := range h {
			attribute, isOne := strings.CutPrefix(name, "ce-")
			value, err := url.PathUnescape(values[0])
			if !isOne || len(values) != 1 || err != nil {
				t.Fatalf("header %s: %q, %v", name, values, err)
			}
			set(t, &got, attribute, value)
		}
		got.DataEncoded = e.Data
		if err := got.Validate(); err != nil {
			t.Errorf("not a valid CloudEvent: %v", err)
		}
		want := cloudevents.Of(events.Recorded{Event: e, Seq: 9})
		want.SetExtension(cloudevents.Sequence, nil)
		if got.String() != want.String() || !reflect.DeepEqual(got.Extensions(), want.Extensions()) {
			t.Errorf("headers say\n%s\nwant\n%s", got, want)
		}
	}
}

func set(t *testing.T, e *event.Event, attribute, value string) {
	t.Helper()
	switch attribute {
	case "specversion":
		e.SetSpecVersion(value)
	case "id":
		e.SetID(value)
	case "type":
		e.SetType(value)
	case "source":
		e.SetSource(value)
	case "subject":
		e.SetSubject(value)
	case "datacontenttype":
		e.SetDataContentType(value)
	case "dataschema":
		e.SetDataSchema(value)
	case "time":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			t.Fatal(err)
		}
		e.SetTime(at)
	default:
		e.SetExtension(attribute, value)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(h nats.Header, s *events.Subject){
		"no headers":           func(h nats.Header, _ *events.Subject) { clear(h) },
		"no id":                func(h nats.Header, _ *events.Subject) { delete(h, headerID) },
		"other spec":           func(h nats.Header, _ *events.Subject) { h[headerSpecVersion] = []string{"0.3"} },
		"other content":        func(h nats.Header, _ *events.Subject) { h[headerDataContentType] = []string{"text/plain"} },
		"two ids":              func(h nats.Header, _ *events.Subject) { h[headerID] = []string{"a", "b"} },
		"bad escape":           func(h nats.Header, _ *events.Subject) { h[headerReason] = []string{"%zz"} },
		"cut escape":           func(h nats.Header, _ *events.Subject) { h[headerReason] = []string{"a%4"} },
		"signed escape":        func(h nats.Header, _ *events.Subject) { h[headerReason] = []string{"%+1"} },
		"not UTF-8":            func(h nats.Header, _ *events.Subject) { h[headerReason] = []string{"%FF"} },
		"bad time":             func(h nats.Header, _ *events.Subject) { h[headerTime] = []string{"yesterday"} },
		"bad sequence":         func(h nats.Header, _ *events.Subject) { h[headerCausationSeq] = []string{"-1"} },
		"cause without its id": func(h nats.Header, _ *events.Subject) { delete(h, headerCausationID) },
		"unknown type":         func(h nats.Header, _ *events.Subject) { h[headerType] = []string{"dev.periplus.pod.updated.v1"} },
		"foreign source":       func(h nats.Header, _ *events.Subject) { h[headerSource] = []string{"/door"} },
		"another object":       func(_ nats.Header, s *events.Subject) { s.Key.Name = "web-2" },
		"another node":         func(_ nats.Header, s *events.Subject) { s.Node = "n2" },
		"the other half":       func(_ nats.Header, s *events.Subject) { *s = s.Key.Wanted() },
	} {
		e := full()
		h, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decode(e.Subject, h, e.Data); err != nil || !reflect.DeepEqual(got, e) {
			t.Fatalf("before: %+v, %v", got, err)
		}
		spoil(h, &e.Subject)
		if got, err := decode(e.Subject, h, e.Data); err == nil {
			t.Errorf("%s: decoded %+v", name, got)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(e *events.Event){
		"not UTF-8": func(e *events.Event) { e.Reason = "\xff" },
		"too long":  func(e *events.Event) { e.Reason = strings.Repeat("é", maxHeaderBytes/6) },
	} {
		e := full()
		spoil(&e)
		if h, err := encode(e); err == nil {
			t.Errorf("%s: encoded as %v", name, h)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"", "plain", "two words", `"quoted"`, "50%", "naïve 字", "\x00\r\n\x7f", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		escaped := escapeHeader(s)
		for _, c := range []byte(escaped) {
			if c <= ' ' || c >= 0x7f || c == '"' {
				t.Errorf("%q is written as %q", s, escaped)
			}
		}
		if other, err := url.PathUnescape(escaped); err != nil || other != s {
			t.Errorf("another decoder reads %q, %v for %q", other, err, s)
		}
		got, err := unescapeHeader(escaped)
		if valid := utf8.ValidString(s); valid != (err == nil) || valid && got != s {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	f.Add("id", "alice", "because", "trace", "name", "node", uint64(1), int64(0))
	f.Add("i d", "ä", "a\nb", "%", "n.a*m>e", "n 1", uint64(1<<63), int64(1<<60))
	f.Fuzz(func(t *testing.T, id, actor, reason, trace, name, node string, seq uint64, nanos int64) {
		e := full()
		e.ID, e.Actor, e.Reason, e.Trace = id, events.Actor("user:"+actor), reason, trace
		e.Subject.Key.Name, e.Subject.Node, e.Source = name, node, events.NodeSource(node)
		e.CauseAt, e.Time = seq, time.Unix(0, nanos).UTC()
		h, err := encode(e)
		if err != nil || events.Check(events.Proposal{Event: e}) != nil {
			return
		}
		if got, err := decode(e.Subject, h, e.Data); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v comes back as %+v, %v", e, got, err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := full()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	e := full()
	h, err := encode(e)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(e.Subject, h, e.Data); err != nil {
			b.Fatal(err)
		}
	}
}
