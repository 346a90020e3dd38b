package events_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"periplus.dev/events"
)

var pod = events.Key{Resource: "pods", Namespace: "default", Name: "web"}

// asked is a person's fact, observed a node's.
func asked() events.Proposal {
	p := events.New(pod.Wanted(), 0, events.TypeOf("pod", events.FactCreated), events.Ref{Change: "c"}, events.State{UID: "u"})
	p.ID, p.Source, p.Actor, p.Time = "i", events.DoorSource, "user:alice", time.Unix(1, 0)
	return p
}

func observed() events.Proposal {
	p := events.New(pod.Observed("n1"), 3, events.PodStopped, events.Ref{Seq: 2, ID: "b", Change: "c"}, events.Stopped{UID: "u"})
	p.ID, p.Source, p.Actor, p.Time = "i", events.NodeSource("n1"), "node:n1", time.Unix(1, 0)
	return p
}

func TestCheck(t *testing.T) {
	for name, p := range map[string]events.Proposal{"person": asked(), "node": observed()} {
		if err := events.Check(p); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := func(p *events.Proposal) { p.Data = []byte(`"` + strings.Repeat("x", events.MaxDataBytes) + `"`) }
	for _, test := range []struct {
		name  string
		of    func() events.Proposal
		spoil func(*events.Proposal)
		want  error
		says  string
	}{
		{"no name", asked, func(p *events.Proposal) { p.Subject.Key.Name = "" }, events.ErrInvalid, "name is empty"},
		{"no type", asked, func(p *events.Proposal) { p.Type = "" }, events.ErrInvalid, "unknown type"},
		{"unknown type", asked, func(p *events.Proposal) { p.Type = "dev.periplus.pod.updated.v1" }, events.ErrInvalid, "unknown type"},
		{"other half", asked, func(p *events.Proposal) { p.Subject.Half = events.Actual }, events.ErrInvalid, "half"},
		{"not the owner", asked, func(p *events.Proposal) { p.Source = events.ReconcilerSource("scheduler") }, events.ErrInvalid, "owner"},
		{"nobody's source", asked, func(p *events.Proposal) { p.Source = "/somebody" }, events.ErrInvalid, "owner"},
		{"source without a name", observed, func(p *events.Proposal) { p.Source = "/nodes/" }, events.ErrInvalid, "owner"},
		{"another node's subject", observed, func(p *events.Proposal) { p.Subject.Node = "n2" }, events.ErrInvalid, "may not record on"},
		{"the control plane's subject", observed, func(p *events.Proposal) { p.Subject.Node = "" }, events.ErrInvalid, "may not record on"},
		{"node in a desired subject", asked, func(p *events.Proposal) { p.Subject.Node = "n1" }, events.ErrInvalid, "may not record on"},
		{"no id", asked, func(p *events.Proposal) { p.ID = "" }, events.ErrInvalid, "required"},
		{"no time", asked, func(p *events.Proposal) { p.Time = time.Time{} }, events.ErrInvalid, "required"},
		{"no actor", asked, func(p *events.Proposal) { p.Actor = "" }, events.ErrInvalid, "required"},
		{"no change set", asked, func(p *events.Proposal) { p.Change = "" }, events.ErrInvalid, "required"},
		{"no cause", observed, func(p *events.Proposal) { p.Cause, p.CauseAt = "", 0 }, events.ErrInvalid, "no cause"},
		{"cause without sequence", observed, func(p *events.Proposal) { p.CauseAt = 0 }, events.ErrInvalid, "both"},
		{"cause without id", asked, func(p *events.Proposal) { p.CauseAt = 9 }, events.ErrInvalid, "both"},
		{"too large", asked, large, events.ErrTooLarge, "bytes"},
		{"no payload", asked, func(p *events.Proposal) { p.Data = nil }, events.ErrInvalid, "not JSON"},
		{"payload cut", asked, func(p *events.Proposal) { p.Data = p.Data[:len(p.Data)-1] }, events.ErrInvalid, "not JSON"},
	} {
		p := test.of()
		test.spoil(&p)
		if err := events.Check(p); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v, want %v with %q", test.name, err, test.want, test.says)
		}
	}
}

func TestActorOf(t *testing.T) {
	for _, test := range []struct {
		user   string
		want   events.Actor
		person bool
	}{
		{"alice", "user:alice", true},
		{"system:admin", "user:system:admin", true},
		{"system:serviceaccount:kube-system:builder", "serviceaccount:kube-system:builder", true},
		{"system:node:n1", "node:n1", false},
	} {
		got := events.ActorOf(test.user)
		if got != test.want || got.Person() != test.person {
			t.Errorf("%s acts as %q, a person: %v; want %q, %v", test.user, got, got.Person(), test.want, test.person)
		}
	}
	if events.Actor("reconciler:replicas").Person() {
		t.Error("a reconciler is taken for a person")
	}
}

func TestSource(t *testing.T) {
	for _, test := range []struct {
		source      events.Source
		owner, node string
	}{
		{events.DoorSource, events.OwnerDoor, ""},
		{events.ReconcilerSource("replicas"), events.OwnerReplicas, ""},
		{events.NodeSource("n1"), events.OwnerNode, "n1"},
		{events.NodeSource("rack/n1"), events.OwnerNode, "rack/n1"},
		{events.NodeSource(""), "", ""},
		{"", "", ""},
		{"/doors", "", ""},
		{"nodes/n1", "", ""},
	} {
		if owner, node := test.source.Owner(), test.source.Node(); owner != test.owner || node != test.node {
			t.Errorf("%q is %q, node %q; want %q, %q", test.source, owner, node, test.owner, test.node)
		}
	}
}

func TestRef(t *testing.T) {
	r := events.Recorded{Event: events.Event{ID: "a", Change: "c"}, Seq: 7}.Ref()
	if want := (events.Ref{Seq: 7, ID: "a", Change: "c"}); r != want {
		t.Errorf("ref is %+v, want %+v", r, want)
	}
	later := events.Ref{Seq: 8}
	if r.Newer(later) != later || later.Newer(r) != later || r.Newer(events.Ref{}) != r {
		t.Error("the newer of two refs is not the one with the greater sequence")
	}
}

func TestNewAndDecode(t *testing.T) {
	want := events.Scheduled{UID: "u", Node: "n1", Candidates: []events.Candidate{{Node: "n1", Fits: true, Score: 9}, {Node: "n2", Reason: "Insufficient cpu"}}}
	p := events.New(pod.Wanted(), 5, events.PodScheduled, events.Ref{Seq: 4, ID: "a", Change: "c"}, want)
	if p.After != 5 || p.Cause != "a" || p.CauseAt != 4 || p.Change != "c" || p.ID != "" || !p.Time.IsZero() {
		t.Errorf("proposal %+v", p)
	}
	got, err := events.Decode[events.Scheduled](events.Recorded{Event: p.Event})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %+v, %v", got, err)
	}
	p.Data = json.RawMessage(`[]`)
	if _, err := events.Decode[events.Scheduled](events.Recorded{Event: p.Event, Seq: 12}); err == nil || !strings.Contains(err.Error(), "sequence 12") {
		t.Errorf("decoding a list: %v", err)
	}
}

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		name, before, after string
		want                []string
	}{
		{"same", `{"a":1}`, `{"a":1}`, nil},
		{"order of keys", `{"a":1,"b":2}`, `{"b":2,"a":1}`, nil},
		{"scalar", `{"spec":{"replicas":1}}`, `{"spec":{"replicas":2}}`, []string{"spec.replicas"}},
		{"added", `{"spec":{}}`, `{"spec":{"paused":true}}`, []string{"spec.paused"}},
		{"removed", `{"spec":{"paused":true}}`, `{"spec":{}}`, []string{"spec.paused"}},
		{"added whole", `{}`, `{"spec":{"a":{"b":1}}}`, []string{"spec"}},
		{"in a list", `{"c":[{"image":"a"},{"image":"b"}]}`, `{"c":[{"image":"a"},{"image":"x"}]}`, []string{"c[1].image"}},
		{"list of another length", `{"c":[1]}`, `{"c":[1,2]}`, []string{"c"}},
		{"list for a map", `{"c":[1]}`, `{"c":{"a":1}}`, []string{"c"}},
		{"null for a value", `{"c":1}`, `{"c":null}`, []string{"c"}},
		{"dots in a key", `{"metadata":{"labels":{"a.b/c":"1"}}}`, `{"metadata":{"labels":{"a.b/c":"2"}}}`, []string{`metadata.labels["a.b/c"]`}},
		{"bookkeeping", `{"metadata":{"resourceVersion":"1","generation":1,"managedFields":[]}}`, `{"metadata":{"resourceVersion":"2","generation":2,"managedFields":[1]}}`, nil},
		{"bookkeeping elsewhere", `{"spec":{"generation":1}}`, `{"spec":{"generation":2}}`, []string{"spec.generation"}},
		{"sorted", `{"b":1,"a":1,"c":1}`, `{"b":2,"a":2,"d":1}`, []string{"a", "b", "c", "d"}},
		{"from nothing", ``, `{"a":1}`, []string{""}},
		{"not JSON", `{`, `{"a":1}`, nil},
	} {
		if got := events.Paths([]byte(test.before), []byte(test.after)); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
