package history

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"periplus.dev/events"
)

// Entry is an event in the form that scripts rely on: its JSON has exactly these
// keys, and all of them always.
type Entry struct {
	Seq    uint64  `json:"seq"`    // position in the log, the Kubernetes resourceVersion
	Time   Instant `json:"time"`   // when it happened, by its author's clock
	Type   string  `json:"type"`   // full event type: "dev.periplus.deployment.scaled.v1"
	Actor  string  `json:"actor"`  // on whose behalf: "user:alice"
	Reason string  `json:"reason"` // a person's words, often empty
	Cause  *uint64 `json:"cause"`  // sequence of the event that led to it; null for a person's request
	Change string  `json:"change"` // id of the change set
	Object string  `json:"object"` // GROUP/RESOURCE/NAMESPACE/NAME
	// Changed are the paths of the fields that are different since, sorted; empty
	// for what came to be or is no more. See [Changed].
	Changed []string `json:"changed"`
}

// Told is an entry with what people read beside it.
type Told struct {
	Entry

	Sentence string `json:"sentence"` // see [Sentence]
	Failed   bool   `json:"failed"`   // see [Failed]
}

// EntryOf is an event as an entry.
func EntryOf(r events.Recorded) Entry {
	e := Entry{
		Seq: r.Seq, Time: Instant{r.Time}, Type: string(r.Type), Actor: string(r.Actor), Reason: r.Reason,
		Change: r.Change, Object: r.Subject.Key.String(), Changed: Changed(r),
	}
	if r.CauseAt != 0 {
		e.Cause = &r.CauseAt
	}
	return e
}

// Tell is an event as people read it; before is as for [Sentence].
func Tell(r, before events.Recorded) Told {
	return Told{Entry: EntryOf(r), Sentence: Sentence(r, before), Failed: Failed(r)}
}

// Instant is a time that is written in UTC with nine digits after the second, so
// that instants sort as text.
type Instant struct{ time.Time }

const instantLayout = "2006-01-02T15:04:05.000000000Z"

// String is the instant as it is written in JSON.
func (i Instant) String() string { return i.UTC().Format(instantLayout) }

// MarshalJSON writes the instant.
func (i Instant) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(i.String())), nil }

// OneLine makes text from outside safe to print: control characters, among them
// line ends, the escape that terminals obey and what turns the direction of text,
// and all other white space become single spaces; bytes that are not UTF-8 are
// replaced.
func OneLine(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "\uFFFD"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
	}), " ")
}
