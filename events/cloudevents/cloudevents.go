// Package cloudevents shows recorded events as CloudEvents 1.0, in the types of
// the CloudEvents SDK, for every place where an outsider reads them.
//
// It only writes them. The log itself has a codec of its own (events/jetstream),
// which is tested against this form.
package cloudevents

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"periplus.dev/events"
)

// Names of the extension attributes.
const (
	CausationID   = "causationid"   // id of the event that led to this one
	CausationSeq  = "causationseq"  // its sequence, decimal
	CorrelationID = "correlationid" // id of the change set
	Actor         = "actor"         // on whose behalf
	Reason        = "reason"        // a person's words
	TraceParent   = "traceparent"   // W3C trace context
	Sequence      = "sequence"      // position in the log, 20 digits, so that it sorts as text
)

// ContentType is the type of every payload.
const ContentType = "application/json"

const schemaBase = "https://periplus.dev/schemas/"

// named holds the types with an intent of their own; it is never changed.
var named = func() map[events.Type]bool {
	set := map[events.Type]bool{}
	for _, t := range events.Types() {
		set[t] = true
	}
	return set
}()

// SchemaName names the schema of a type's payload: the type itself, or for a
// fact that any kind can have, the type with "_" in place of the kind.
func SchemaName(t events.Type) string {
	if named[t] {
		return string(t)
	}
	return string(events.TypeOf("_", t.Fact()))
}

// DataSchema is the dataschema attribute of a type's events: an absolute URI that
// names the schema under schemas/. Nothing needs to be fetched from it.
func DataSchema(t events.Type) string { return schemaBase + SchemaName(t) + ".json" }

// Of is the event in the types of the SDK. Marshalled with encoding/json it is
// the CloudEvents JSON format. The payload is not copied.
func Of(r events.Recorded) event.Event {
	e := event.New(event.CloudEventsVersionV1)
	e.SetID(r.ID)
	e.SetType(string(r.Type))
	e.SetSource(string(r.Source))
	e.SetSubject(r.Subject.Key.String())
	e.SetTime(r.Time.UTC())
	e.SetDataContentType(ContentType)
	e.SetDataSchema(DataSchema(r.Type))
	e.DataEncoded = r.Data
	for name, value := range map[string]string{
		CausationID:   r.Cause,
		CausationSeq:  number(r.CauseAt),
		CorrelationID: r.Change,
		Actor:         string(r.Actor),
		Reason:        strings.ToValidUTF8(r.Reason, "\uFFFD"),
		TraceParent:   r.Trace,
		Sequence:      fmt.Sprintf("%020d", r.Seq),
	} {
		if value != "" {
			e.SetExtension(name, value)
		}
	}
	return e
}

func number(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}
