package events_test

import (
	"errors"
	"strings"
	"testing"

	"periplus.dev/events"
)

func TestKeyString(t *testing.T) {
	for _, test := range []struct {
		key  events.Key
		want string
	}{
		{events.Key{Resource: "pods", Namespace: "default", Name: "web"}, "core/pods/default/web"},
		{events.Key{Resource: "nodes", Name: "n1"}, "core/nodes/_/n1"},
		{events.Key{Group: "apps", Resource: "deployments", Namespace: "a", Name: "b"}, "apps/deployments/a/b"},
	} {
		if got := test.key.String(); got != test.want {
			t.Errorf("%+v is written %q, want %q", test.key, got, test.want)
		}
		if got, err := events.ParseKey(test.want); err != nil || got != test.key {
			t.Errorf("%q is read as %+v, %v", test.want, got, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, s := range []string{"", "pods", "core/pods/default", "core/pods/default/web/x", "core//default/web", "core/pods/default/"} {
		if k, err := events.ParseKey(s); err == nil {
			t.Errorf("%q is read as %+v", s, k)
		}
	}
	for _, k := range []events.Key{
		{}, {Resource: "pods"}, {Name: "web"}, {Group: "core", Resource: "pods", Name: "web"},
		{Resource: "pods", Namespace: "_", Name: "web"}, {Resource: "pods", Name: "a/b"}, {Group: "a/b", Resource: "pods", Name: "web"},
	} {
		if err := k.Valid(); !errors.Is(err, events.ErrInvalidKey) {
			t.Errorf("%+v: %v, want %v", k, err, events.ErrInvalidKey)
		}
	}
}

func TestSubject(t *testing.T) {
	pod := events.Key{Resource: "pods", Namespace: "default", Name: "web.1"}
	for _, test := range []struct {
		subject events.Subject
		want    string
	}{
		{pod.Wanted(), "pp.log.obj.core.pods.default.web%2E1"},
		{pod.Observed("n1"), "pp.log.act.n1.core.pods.default.web%2E1"},
		{pod.Observed(""), "pp.log.act._.core.pods.default.web%2E1"},
		{pod.Observed("_"), "pp.log.act.%5F.core.pods.default.web%2E1"},
		{events.Key{Group: "networking.k8s.io", Resource: "x", Name: "*>% \t"}.Wanted(), "pp.log.obj.networking%2Ek8s%2Eio.x._.%2A%3E%25%20%09"},
	} {
		if got := test.subject.String(); got != test.want {
			t.Errorf("%+v is written %q, want %q", test.subject, got, test.want)
		}
		if got, err := events.ParseSubject(test.want); err != nil || got != test.subject {
			t.Errorf("%q is read as %+v, %v", test.want, got, err)
		}
	}
}

func TestParseSubjectRefuses(t *testing.T) {
	for _, s := range []string{
		"", "pp.log", "pp.log.obj.core.pods.default", "pp.log.obj.core.pods.default.web.x", "pp.log.act.core.pods.default.web",
		"pp.log.new.core.pods.default.web", "pp.lease.obj.core.pods.default.web", "obj.core.pods.default.web",
		"pp.log.obj.core.pods.default.", "pp.log.obj.core.pods..web", "pp.log.obj..pods.default.web", "pp.log.act..core.pods.default.web",
		"pp.log.obj.core.pods.default.%", "pp.log.obj.core.pods.default.%2", "pp.log.obj.core.pods.default.%2e", // lower case is not what we write
		"pp.log.obj.core.pods.default.%41", "pp.log.obj.core.pods.default.a*", "pp.log.obj.%63ore.pods.default.web", "pp.log.obj.core.pods.%5F.web", "pp.log.obj.core.pods.default.a%2Fb",
	} {
		if got, err := events.ParseSubject(s); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		}
	}
}

// FuzzSubject: whatever is in a key, its subject is one that NATS takes, and is
// read back as the same key; so no two keys share a subject.
func FuzzSubject(f *testing.F) {
	f.Add("", "pods", "default", "web", "", false)
	f.Add("core", "a.b", "_", "*", ">", true)
	f.Add("apps", "deployments", " ", "%2E", "_", true)
	f.Add("\xff", "\x00", "ü", "\x7f", "n 1", true)
	f.Fuzz(func(t *testing.T, group, resource, namespace, name, node string, actual bool) {
		k := events.Key{Group: group, Resource: resource, Namespace: namespace, Name: name}
		if k.Valid() != nil {
			return
		}
		s := k.Wanted()
		if actual {
			s = k.Observed(node)
		}
		written := s.String()
		for token := range strings.SplitSeq(written, ".") {
			if token == "" || strings.ContainsAny(token, "*> \t\r\n\x00") {
				t.Errorf("%+v is written %q", s, written)
			}
		}
		if got, err := events.ParseSubject(written); err != nil || got != s {
			t.Errorf("%+v is written %q and read as %+v, %v", s, written, got, err)
		}
		if got, err := events.ParseKey(k.String()); err != nil || got != k {
			t.Errorf("%+v is written %q and read as %+v, %v", k, k, got, err)
		}
	})
}

// FuzzParseSubject: what is read was written like this and not otherwise.
func FuzzParseSubject(f *testing.F) {
	f.Add("pp.log.obj.core.pods.default.web%2E1")
	f.Add("pp.log.act._.core.pods._.%5F")
	f.Fuzz(func(t *testing.T, subject string) {
		if s, err := events.ParseSubject(subject); err == nil && s.String() != subject {
			t.Errorf("%q is read as %+v, which is written %q", subject, s, s)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add("a.b")
	f.Add("%2E")
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := events.UnescapeToken(events.EscapeToken(s)); err != nil || got != s {
			t.Errorf("%q comes back as %q, %v", s, got, err)
		}
	})
}
