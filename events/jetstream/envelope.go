package jetstream

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"periplus.dev/events"
	"periplus.dev/events/cloudevents"
)

// Headers of an event: CloudEvents attributes in binary mode.
const (
	headerSpecVersion     = "ce-specversion"
	headerID              = "ce-id"
	headerType            = "ce-type"
	headerSource          = "ce-source"
	headerSubject         = "ce-subject"
	headerTime            = "ce-time"
	headerDataContentType = "ce-datacontenttype"
	headerDataSchema      = "ce-dataschema"
	headerCausationID     = "ce-" + cloudevents.CausationID
	headerCausationSeq    = "ce-" + cloudevents.CausationSeq
	headerCorrelationID   = "ce-" + cloudevents.CorrelationID
	headerActor           = "ce-" + cloudevents.Actor
	headerReason          = "ce-" + cloudevents.Reason
	headerTraceParent     = "ce-" + cloudevents.TraceParent
)

const specVersion = "1.0"

// Limits of the wire, below those of the server.
const (
	maxSubjectBytes = 2 << 10  // a protocol line of NATS holds 4 KiB
	maxHeaderBytes  = 48 << 10 // the server stores at most 64 KiB of headers
)

// encode writes the event's attributes as headers. It refuses what would not
// come back as it was: text that is not UTF-8 and attributes too long to store.
func encode(e events.Event) (nats.Header, error) {
	h := make(nats.Header, 18)
	values := make([]string, 0, 18)
	size, valid := 0, true
	set := func(name, value string) {
		if value == "" {
			return
		}
		valid = valid && utf8.ValidString(value)
		value = escapeHeader(value)
		size += len(name) + len(value) + len(": \r\n")
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set(headerSpecVersion, specVersion)
	set(headerID, e.ID)
	set(headerType, string(e.Type))
	set(headerSource, string(e.Source))
	set(headerSubject, e.Subject.Key.String())
	set(headerTime, e.Time.UTC().Format(time.RFC3339Nano))
	set(headerDataContentType, cloudevents.ContentType)
	set(headerDataSchema, cloudevents.DataSchema(e.Type))
	set(headerCausationID, e.Cause)
	if e.CauseAt != 0 {
		set(headerCausationSeq, strconv.FormatUint(e.CauseAt, 10))
	}
	set(headerCorrelationID, e.Change)
	set(headerActor, string(e.Actor))
	set(headerReason, e.Reason)
	set(headerTraceParent, e.Trace)
	switch {
	case !valid:
		return nil, fmt.Errorf("%s for %q: %w: an attribute is not UTF-8", e.Type, e.Subject.Key, events.ErrInvalid)
	case size > maxHeaderBytes:
		return nil, fmt.Errorf("%s for %s: %w: %d bytes of attributes, at most %d", e.Type, e.Subject.Key, events.ErrTooLarge, size, maxHeaderBytes)
	}
	return h, nil
}

// decode reads a stored message. It believes the subject and refuses an event
// that does not fit it or that [events.Check] would not have let in.
func decode(subject events.Subject, h nats.Header, data []byte) (events.Event, error) {
	r := headerReader{h: h}
	e := events.Event{
		ID:      r.text(headerID),
		Type:    events.Type(r.text(headerType)),
		Source:  events.Source(r.text(headerSource)),
		Subject: subject,
		Time:    r.time(headerTime),
		Actor:   events.Actor(r.text(headerActor)),
		Cause:   r.text(headerCausationID),
		CauseAt: r.number(headerCausationSeq),
		Change:  r.text(headerCorrelationID),
		Reason:  r.text(headerReason),
		Trace:   r.text(headerTraceParent),
		Data:    data,
	}
	switch key, version, content := r.text(headerSubject), r.text(headerSpecVersion), r.text(headerDataContentType); {
	case r.err != nil:
		return events.Event{}, r.err
	case version != specVersion:
		return events.Event{}, fmt.Errorf("%s is %q, want %q", headerSpecVersion, version, specVersion)
	case content != cloudevents.ContentType:
		return events.Event{}, fmt.Errorf("%s is %q, want %q", headerDataContentType, content, cloudevents.ContentType)
	case key != subject.Key.String():
		return events.Event{}, fmt.Errorf("%s is %q on subject %s", headerSubject, key, subject)
	}
	return e, events.Check(events.Proposal{Event: e})
}

// headerReader reads attributes and remembers the first that is malformed.
type headerReader struct {
	h   nats.Header
	err error
}

func (r *headerReader) text(name string) string {
	values := r.h[name]
	if len(values) == 0 {
		return ""
	}
	s, err := unescapeHeader(values[0])
	if err == nil && len(values) > 1 {
		err = errors.New("stands twice")
	}
	r.note(name, err)
	return s
}

func (r *headerReader) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, r.text(name))
	r.note(name, err)
	return t.UTC()
}

func (r *headerReader) number(name string) uint64 {
	s := r.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	r.note(name, err)
	return n
}

func (r *headerReader) note(name string, err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("header %s: %w", name, err)
	}
}

// escapeHeader writes a header value as the NATS binding of CloudEvents says:
// every byte of what is not printable ASCII, of space, double quote and percent
// becomes %XX.
func escapeHeader(s string) string {
	plain := 0
	for plain < len(s) && printable(s[plain]) {
		plain++
	}
	if plain == len(s) {
		return s
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:plain])
	for _, c := range []byte(s[plain:]) {
		if printable(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func printable(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// unescapeHeader reads what [escapeHeader] wrote. As the binding demands, it
// takes hexadecimal digits of either case.
func unescapeHeader(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, validText(s)
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("cut escape in %q", s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("bad escape %q", s[i:i+3])
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), validText(string(b))
}

func validText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	return nil
}
