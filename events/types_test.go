package events_test

import (
	"regexp"
	"slices"
	"testing"

	"periplus.dev/events"
)

// kinds are the kinds whose facts have names of their own. Facts about images and
// containers are facts about a pod.
var kinds = []string{"cluster", "container", "deployment", "image", "namespace", "node", "pod", "replicaset"}

var owners = []string{
	events.OwnerDoor, events.OwnerNode, events.OwnerDeployments, events.OwnerReplicas,
	events.OwnerScheduler, events.OwnerGarbage, events.OwnerNamespaces,
}

func TestEveryTypeHasOneOwner(t *testing.T) {
	form := regexp.MustCompile(`^dev\.periplus\.[a-z]+\.[a-z]+(-[a-z]+)*\.v[1-9][0-9]*$`)
	all := events.Types()
	for _, fact := range events.Facts() {
		all = append(all, events.TypeOf("configmap", fact))
	}
	for _, typ := range all {
		spec, ok := events.Lookup(typ)
		switch {
		case !ok:
			t.Errorf("%s is listed and not known", typ)
		case !form.MatchString(string(typ)):
			t.Errorf("%s is not of the form of a type", typ)
		case !slices.Contains(owners, spec.Owner):
			t.Errorf("%s belongs to %q", typ, spec.Owner)
		case spec.Fat && spec.Half != events.Desired:
			t.Errorf("%s is fat and belongs to the %s half", typ, spec.Half)
		case spec.Owner == events.OwnerNode && spec.Half != events.Actual:
			t.Errorf("%s is a node's and belongs to the desired half", typ)
		case typ.Fact() == "updated":
			t.Errorf("%s does not say what happened", typ)
		}
		if typ != events.TypeOf(typ.Kind(), typ.Fact()) {
			t.Errorf("%s is %q and %q", typ, typ.Kind(), typ.Fact())
		}
	}
	for _, typ := range events.Types() {
		if !slices.Contains(kinds, typ.Kind()) {
			t.Errorf("%s is of an unknown kind", typ)
		}
		if slices.Contains(events.Facts(), typ.Fact()) {
			t.Errorf("%s names a fact that every kind can have", typ)
		}
	}
}

// TestOwnersTable pins who may record what: a change here is a change of design.
func TestOwnersTable(t *testing.T) {
	got := map[string][]string{}
	for _, typ := range events.Types() {
		spec, _ := events.Lookup(typ)
		got[spec.Owner] = append(got[spec.Owner], typ.Short())
	}
	for owner, want := range map[string][]string{
		events.OwnerScheduler:   {"pod.scheduled", "pod.unschedulable"},
		events.OwnerReplicas:    {"pod.adopted", "pod.matured", "pod.released", "pod.requested", "pod.retired"},
		events.OwnerNamespaces:  {"namespace.emptied"},
		events.OwnerDeployments: {"deployment.revision-recorded", "replicaset.adopted", "replicaset.pruned", "replicaset.released", "replicaset.revised", "replicaset.rolled-out", "replicaset.stepped"},
	} {
		if !slices.Equal(got[owner], want) {
			t.Errorf("%s records %q, want %q", owner, got[owner], want)
		}
	}
}

func TestTerminal(t *testing.T) {
	var got []string
	for _, typ := range events.Types() {
		if spec, _ := events.Lookup(typ); spec.Terminal {
			got = append(got, typ.Short())
		}
	}
	for _, fact := range events.Facts() {
		if spec, _ := events.Lookup(events.TypeOf("x", fact)); spec.Terminal {
			got = append(got, fact)
		}
	}
	want := []string{"namespace.emptied", "pod.stopped", "replicaset.pruned", "collected", "deleted", "finalized", "swept"}
	if !slices.Equal(got, want) {
		t.Errorf("terminal are %q, want %q", got, want)
	}
}

func TestLookupRefuses(t *testing.T) {
	for _, typ := range []events.Type{
		"", "created", "configmap.created", "dev.periplus", "dev.periplus.", "dev.periplus..created.v1", "dev.periplus.created.v1",
		"dev.periplus.configmap.created", "dev.periplus.configmap.created.v2", "dev.periplus.configmap.created.v1.v1",
		"dev.periplus.configmap.updated.v1", "dev.periplus.pod.scheduled.v2", "dev.periplus.deployment.bound.v1",
		"org.periplus.configmap.created.v1", "dev.periplus.a.b.created.v1", " dev.periplus.configmap.created.v1",
	} {
		if spec, ok := events.Lookup(typ); ok {
			t.Errorf("%q is known: %+v", typ, spec)
		}
	}
}
