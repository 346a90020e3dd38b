package cloudevents_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"periplus.dev/events"
	"periplus.dev/events/cloudevents"
)

func recorded() events.Recorded {
	p := events.New(events.Key{Resource: "pods", Namespace: "default", Name: "web-1"}.Observed("n1"), 7, events.PodStopping,
		events.Ref{Seq: 5_000_000_000, ID: "cause", Change: "change"}, events.Stopping{UID: "u", GraceSeconds: 30})
	p.ID, p.Source, p.Actor = "0190-1", events.NodeSource("n1"), "node:n1"
	p.Time = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return events.Recorded{Event: p.Event, Seq: 42, Stored: p.Time}
}

func TestJSON(t *testing.T) {
	text, err := json.Marshal(cloudevents.Of(recorded()))
	if err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{
		"specversion": "1.0", "id": "0190-1", "type": "dev.periplus.pod.stopping.v1", "source": "/nodes/n1",
		"subject": "core/pods/default/web-1", "time": "2026-01-02T03:04:05.000000006Z",
		"datacontenttype": "application/json", "dataschema": "https://periplus.dev/schemas/dev.periplus.pod.stopping.v1.json",
		"causationid": "cause", "causationseq": "5000000000", "correlationid": "change", "actor": "node:n1",
		"sequence": "00000000000000000042", "data": {"uid": "u", "graceSeconds": 30}
	}`), &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("JSON is\n%s", text)
	}
}

// TestReadBySDK: whoever uses the SDK reads back what was recorded.
func TestReadBySDK(t *testing.T) {
	r := recorded()
	r.Reason, r.Trace = "because \xff of", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	text, err := json.Marshal(cloudevents.Of(r))
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatal(err)
	}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	if e.Extensions()[cloudevents.Reason] != "because \uFFFD of" || e.Extensions()[cloudevents.TraceParent] != r.Trace || string(e.Data()) != string(r.Data) {
		t.Errorf("read back as %s", e)
	}
}

func TestDataSchema(t *testing.T) {
	for typ, want := range map[events.Type]string{
		events.PodScheduled:                            "https://periplus.dev/schemas/dev.periplus.pod.scheduled.v1.json",
		events.TypeOf("configmap", events.FactCreated): "https://periplus.dev/schemas/dev.periplus._.created.v1.json",
	} {
		if got := cloudevents.DataSchema(typ); got != want {
			t.Errorf("%s: %s, want %s", typ, got, want)
		}
	}
}
