package history_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/history"
)

var (
	web    = events.Key{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}
	webSet = events.Key{Group: "apps", Resource: "replicasets", Namespace: "default", Name: "web-7f"}
	webPod = events.Key{Resource: "pods", Namespace: "default", Name: "web-7f-a"}
	n1     = events.Key{Resource: "nodes", Name: "n1"}
)

// event is a recorded event with an id that follows from its sequence.
func event(seq uint64, t events.Type, k events.Key, cause uint64, data any) events.Recorded {
	raw, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	spec, _ := events.Lookup(t)
	s := events.Subject{Key: k, Half: spec.Half}
	if spec.Owner == events.OwnerNode {
		s.Node = "n1"
	}
	r := events.Recorded{Seq: seq, Event: events.Event{
		ID: id(seq), Type: t, Subject: s, Actor: actorOf(spec.Owner), Change: id(1), Data: raw,
		Time: time.Date(2026, 11, 21, 3, 9, 11, 120_000_000, time.UTC),
	}}
	if cause != 0 {
		r.Cause, r.CauseAt = id(cause), cause
	}
	return r
}

func id(seq uint64) string { return fmt.Sprintf("id-%d", seq) }

func actorOf(owner string) events.Actor {
	switch owner {
	case events.OwnerDoor:
		return "user:alice"
	case events.OwnerNode:
		return "node:n1"
	default:
		return events.Actor("reconciler:" + strings.TrimPrefix(owner, "reconcilers/"))
	}
}

func TestEntryKeys(t *testing.T) {
	scaled := event(7, events.DeploymentScaled, web, 0, events.State{UID: "u", Changed: []string{"spec.replicas"}, Previous: 3})
	scaled.Reason = "more <load> & fun"
	for _, c := range []struct {
		name string
		r    events.Recorded
		want string
	}{
		{"a person's request", scaled, `{"seq":7,"time":"2026-11-21T03:09:11.120000000Z","type":"dev.periplus.deployment.scaled.v1","actor":"user:alice",` +
			`"reason":"more \u003cload\u003e \u0026 fun","cause":null,"change":"id-1","object":"apps/deployments/default/web","changed":["spec.replicas"]}`},
		{"a consequence, of a cluster-scoped object of the core group", event(9, events.NodeReady, n1, 8, events.Readiness{}),
			`{"seq":9,"time":"2026-11-21T03:09:11.120000000Z","type":"dev.periplus.node.ready.v1","actor":"node:n1",` +
				`"reason":"","cause":8,"change":"id-1","object":"core/nodes/_/n1","changed":["status.conditions[Ready]"]}`},
		{"nothing changed", event(9, events.TypeOf("pod", events.FactDeleted), webPod, 0, events.State{UID: "u"}),
			`{"seq":9,"time":"2026-11-21T03:09:11.120000000Z","type":"dev.periplus.pod.deleted.v1","actor":"user:alice",` +
				`"reason":"","cause":null,"change":"id-1","object":"core/pods/default/web-7f-a","changed":[]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := json.Marshal(history.EntryOf(c.r))
			if err != nil || string(got) != c.want {
				t.Errorf("got  %s %v\nwant %s", got, err, c.want)
			}
			var back history.Entry
			if err := json.Unmarshal(got, &back); err != nil || !back.Time.Equal(c.r.Time) {
				t.Errorf("read back %v, %v", back, err)
			}
		})
	}
}

func TestTellKeepsTheKeysOfAnEntry(t *testing.T) {
	r := event(7, events.PodUnschedulable, webPod, 6, events.Unschedulable{Message: "no"})
	raw, err := json.Marshal(history.Tell(r, events.Recorded{}))
	if err != nil {
		t.Fatal(err)
	}
	entry, err := json.Marshal(history.EntryOf(r))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.TrimSuffix(string(entry), "}") + `,"sentence":"cannot be scheduled: no","failed":true}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func TestOneLine(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{" plain  text ", "plain text"},
		{"two\nlines\r\n", "two lines"},
		{"\x1b[31mred\x1b[0m", "[31mred [0m"},
		{"a\u202eb", "a b"},
		{"Ελλάδα\u00a0👩\u200d🚀", "Ελλάδα 👩\u200d🚀"},
		{"a\x9b\xffb", "a\ufffdb"},
	} {
		if got := history.OneLine(c.in); got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
	}
}

func lookup(log ...events.Recorded) history.Lookup {
	return func(seq uint64) (events.Recorded, bool, error) {
		for _, r := range log {
			if r.Seq == seq {
				return r, true, nil
			}
		}
		return events.Recorded{}, false, nil
	}
}

// rollout is the story of a pod made by a rolling update.
func rollout() []events.Recorded {
	return []events.Recorded{
		event(1, events.ClusterInitialized, events.Key{Group: "periplus.dev", Resource: "clusters", Name: "main"}, 0, events.State{}),
		event(2, events.NodeRegistered, n1, 1, events.Registered{}),
		event(3, events.TypeOf("deployment", events.FactCreated), web, 0, events.State{}),
		event(4, events.DeploymentTemplateChanged, web, 0, events.State{}),
		event(5, events.ReplicaSetRolledOut, webSet, 4, events.State{}),
		event(6, events.ReplicaSetStepped, webSet, 5, events.State{}),
		event(7, events.PodRequested, webPod, 6, events.State{}),
		event(8, events.PodScheduled, webPod, 7, events.Scheduled{}),
		event(9, events.ContainerStarted, webPod, 8, events.Started{}),
	}
}

func TestWhy(t *testing.T) {
	log := rollout()
	broken := errors.New("disk on fire")
	forward := slices.Clone(log)
	forward[6].CauseAt, forward[6].Cause = 8, id(8)
	itself := slices.Clone(log)
	itself[6].CauseAt, itself[6].Cause = 7, id(7)
	swapped := slices.Clone(log)
	swapped[6].Cause = "id-other"
	for _, c := range []struct {
		name  string
		seq   uint64
		at    history.Lookup
		want  []uint64
		err   error
		words string
	}{
		{name: "back to a person", seq: 7, at: lookup(log...), want: []uint64{7, 6, 5, 4}},
		{name: "from an observation", seq: 9, at: lookup(log...), want: []uint64{9, 8, 7, 6, 5, 4}},
		{name: "back to the first event", seq: 2, at: lookup(log...), want: []uint64{2, 1}},
		{name: "a request has no cause", seq: 3, at: lookup(log...), want: []uint64{3}},
		{name: "unknown", seq: 12, at: lookup(log...), err: history.ErrUnknown, words: "explain event 12: no such event"},
		{name: "zero", seq: 0, at: lookup(log...), err: history.ErrUnknown},
		{name: "missing cause", seq: 9, at: lookup(append(slices.Clone(log[:5]), log[6:]...)...), err: history.ErrBroken,
			words: "event 6, the cause of event 7, is not in the log"},
		{name: "newer cause", seq: 9, at: lookup(forward...), err: history.ErrBroken, words: "event 7 names event 8 as its cause"},
		{name: "its own cause", seq: 9, at: lookup(itself...), err: history.ErrBroken, words: "event 7 names event 7 as its cause"},
		{name: "another event", seq: 9, at: lookup(swapped...), err: history.ErrBroken, words: "event 7 names id-other as its cause, but event 6 is id-6"},
		{name: "log fails at once", seq: 9, at: func(uint64) (events.Recorded, bool, error) { return events.Recorded{}, false, broken }, err: broken},
		{name: "log fails on the way", seq: 9, err: broken, at: func(seq uint64) (events.Recorded, bool, error) {
			if seq < 8 {
				return events.Recorded{}, false, broken
			}
			return lookup(log...)(seq)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain, err := history.Why(c.seq, c.at)
			if !errors.Is(err, c.err) || err != nil && !strings.Contains(err.Error(), c.words) {
				t.Fatalf("error %v, want %v with %q", err, c.err, c.words)
			}
			var got []uint64
			for _, r := range chain {
				got = append(got, r.Seq)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	log := rollout()
	reasoned := log[3]
	reasoned.Reason = "new\nlook"
	lost := log[4]
	lost.CauseAt, lost.Cause = 0, ""
	physical := log[1]
	physical.CauseAt, physical.Cause = 0, ""
	provisioned := event(2, events.TypeOf("namespace", events.FactProvisioned), n1, 1, events.State{})
	for _, c := range []struct {
		name  string
		chain []events.Recorded
		want  string
	}{
		{"nothing", nil, ""},
		{"a person", []events.Recorded{log[4], log[3]}, "asked by user:alice"},
		{"a person with words", []events.Recorded{log[4], reasoned}, "asked by user:alice: new look"},
		{"a node", []events.Recorded{log[1], log[0]}, "the physical world: node:n1"},
		{"a node without a cause", []events.Recorded{physical}, "the physical world: node:n1"},
		{"the log itself", []events.Recorded{log[0]}, "the log begins here"},
		{"what always exists", []events.Recorded{provisioned, log[0]}, "the log begins here"},
		{"nobody knows", []events.Recorded{lost}, "no cause is recorded, its actor is reconciler:deployments"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var chain []history.Entry
			for _, r := range c.chain {
				chain = append(chain, history.EntryOf(r))
			}
			if got := history.Origin(chain); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLife(t *testing.T) {
	state := events.State{UID: "u"}
	created := func(seq uint64) events.Recorded { return event(seq, events.PodRequested, webPod, 0, state) }
	gone := func(seq uint64) events.Recorded {
		return event(seq, events.TypeOf("pod", events.FactFinalized), webPod, 0, state)
	}
	stopped := func(seq uint64) events.Recorded {
		return event(seq, events.PodStopped, webPod, 0, events.Stopped{UID: "u"})
	}
	retired := func(seq uint64) events.Recorded { return event(seq, events.PodRetired, webPod, 0, state) }
	for _, c := range []struct {
		name    string
		log     []events.Recorded
		want    history.Life
		telling uint64
	}{
		{"nothing", nil, history.Life{}, 0},
		{"there", []events.Recorded{created(3), event(4, events.PodScheduled, webPod, 3, events.Scheduled{})}, history.Life{Born: 3, Last: 4}, 3},
		{"being deleted", []events.Recorded{created(3), retired(5), stopped(6)}, history.Life{Born: 3, Last: 6}, 3},
		{"gone", []events.Recorded{created(3), retired(5), stopped(6), gone(8)}, history.Life{Born: 3, Ended: 8, Last: 8}, 8},
		{"a late word of its node", []events.Recorded{created(3), gone(8), stopped(9)}, history.Life{Born: 3, Ended: 8, Last: 9}, 8},
		{"made again", []events.Recorded{created(3), gone(8), stopped(9), created(11), retired(12)}, history.Life{Born: 11, Last: 12}, 11},
		{"a node that was edited", []events.Recorded{event(2, events.NodeRegistered, n1, 1, events.Registered{}), event(5, events.NodeCordoned, n1, 0, state)},
			history.Life{Born: 2, Last: 5}, 2},
		{"only its status is known", []events.Recorded{stopped(6)}, history.Life{Last: 6}, 6},
		{"an unknown fact", []events.Recorded{event(6, "dev.periplus.pod.dreamt.v1", webPod, 0, state)}, history.Life{Last: 6}, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			var l history.Life
			for _, r := range c.log {
				l = l.Fold(r).Fold(r) // a second time changes nothing
			}
			if l != c.want || l.Telling() != c.telling {
				t.Errorf("got %+v telling %d, want %+v telling %d", l, l.Telling(), c.want, c.telling)
			}
		})
	}
}
