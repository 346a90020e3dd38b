package events

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Key names one object of the cluster.
type Key struct {
	Group     string // API group; empty for the core group
	Resource  string // plural, lower case, as in a Kubernetes URL: "pods"
	Namespace string // empty for a cluster-scoped object
	Name      string
}

// coreGroup and noNamespace stand for the empty strings, which a NATS subject
// token and a path segment cannot hold.
const (
	coreGroup   = "core"
	noNamespace = "_"
)

// String writes the key as GROUP/RESOURCE/NAMESPACE/NAME with "core" for the
// empty group and "_" for no namespace: the CloudEvents subject of its events.
func (k Key) String() string {
	return orElse(k.Group, coreGroup) + "/" + k.Resource + "/" + orElse(k.Namespace, noNamespace) + "/" + k.Name
}

// ParseKey reads what [Key.String] wrote.
func ParseKey(s string) (Key, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 4 {
		return Key{}, fmt.Errorf("key %q: want GROUP/RESOURCE/NAMESPACE/NAME", s)
	}
	k := Key{Group: parts[0], Resource: parts[1], Namespace: parts[2], Name: parts[3]}
	if k.Group == coreGroup {
		k.Group = ""
	}
	if k.Namespace == noNamespace {
		k.Namespace = ""
	}
	if err := k.Valid(); err != nil {
		return Key{}, fmt.Errorf("key %q: %w", s, err)
	}
	if k.String() != s {
		return Key{}, fmt.Errorf("key %q: want %q for the empty group and %q for no namespace", s, coreGroup, noNamespace)
	}
	return k, nil
}

// ErrInvalidKey marks a key that cannot be addressed in the log.
var ErrInvalidKey = errors.New("invalid key")

// Valid reports whether the key can be written as a subject and read back.
func (k Key) Valid() error {
	for _, part := range []struct{ name, value string }{
		{"group", orElse(k.Group, coreGroup)}, {"resource", k.Resource},
		{"namespace", orElse(k.Namespace, noNamespace)}, {"name", k.Name},
	} {
		if part.value == "" {
			return fmt.Errorf("%w: %s is empty", ErrInvalidKey, part.name)
		}
		if !utf8.ValidString(part.value) {
			return fmt.Errorf("%w: %s %q is not UTF-8", ErrInvalidKey, part.name, part.value)
		}
		if strings.Contains(part.value, "/") {
			return fmt.Errorf("%w: %s %q contains a slash", ErrInvalidKey, part.name, part.value)
		}
	}
	if k.Group == coreGroup || k.Namespace == noNamespace {
		return fmt.Errorf("%w: %q and %q stand for the empty group and namespace", ErrInvalidKey, coreGroup, noNamespace)
	}
	return nil
}

// GroupResource names the kind's table: "pods", "deployments.apps".
func (k Key) GroupResource() string {
	if k.Group == "" {
		return k.Resource
	}
	return k.Resource + "." + k.Group
}

// Half says which side of an object an event speaks of.
type Half int

// The halves of an object.
const (
	Desired Half = iota // metadata and spec: what was asked
	Actual              // status: what was observed
)

// String is the name of the half as it stands in a subject.
func (h Half) String() string { return [...]string{"obj", "act"}[h] }

// Subject addresses one half of one object, the unit of ordering and of
// optimistic concurrency. The actual half has one subject per observer.
type Subject struct {
	Key  Key
	Half Half
	Node string // who observes: a node's name, or empty for the control plane; always empty for Desired
}

// Wanted is the subject of the key's desired half.
func (k Key) Wanted() Subject { return Subject{Key: k} }

// Observed is the subject of the key's actual half as seen by a node, or by the
// control plane if node is empty.
func (k Key) Observed(node string) Subject { return Subject{Key: k, Half: Actual, Node: node} }

// SubjectPrefix starts every subject of the log.
const SubjectPrefix = "pp.log"

// String writes the NATS subject: pp.log.obj.GROUP.RESOURCE.NS.NAME or
// pp.log.act.NODE.GROUP.RESOURCE.NS.NAME, each token escaped by [EscapeToken].
func (s Subject) String() string {
	k := s.Key
	tokens := []string{SubjectPrefix, s.Half.String()}
	if s.Half == Actual {
		tokens = append(tokens, orToken(s.Node, noNamespace))
	}
	tokens = append(tokens, orToken(k.Group, coreGroup), EscapeToken(k.Resource), orToken(k.Namespace, noNamespace), EscapeToken(k.Name))
	return strings.Join(tokens, ".")
}

// ParseSubject reads what [Subject.String] wrote and refuses anything else.
func ParseSubject(subject string) (Subject, error) {
	rest, ok := strings.CutPrefix(subject, SubjectPrefix+".")
	tokens := strings.Split(rest, ".")
	switch {
	case ok && len(tokens) == 5 && tokens[0] == Desired.String():
		tokens = append([]string{tokens[0], noNamespace}, tokens[1:]...)
	case ok && len(tokens) == 6 && tokens[0] == Actual.String():
	default:
		return Subject{}, fmt.Errorf("subject %q: want %s.obj.GROUP.RESOURCE.NS.NAME or %s.act.NODE.GROUP.RESOURCE.NS.NAME", subject, SubjectPrefix, SubjectPrefix)
	}
	var err error
	read := func(token, empty string) string {
		if token == empty {
			return ""
		}
		out, e := UnescapeToken(token)
		if e != nil {
			err = e
		}
		return out
	}
	s := Subject{Node: read(tokens[1], noNamespace), Key: Key{
		Group: read(tokens[2], coreGroup), Resource: read(tokens[3], ""),
		Namespace: read(tokens[4], noNamespace), Name: read(tokens[5], ""),
	}}
	if tokens[0] == Actual.String() {
		s.Half = Actual
	}
	if err == nil {
		err = s.Key.Valid()
	}
	if err == nil && s.String() != subject {
		err = errors.New("not in canonical form")
	}
	if err != nil {
		return Subject{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return s, nil
}

const hexDigits = "0123456789ABCDEF"

// EscapeToken makes a NATS subject token of any non-empty string. Bytes that
// NATS gives a meaning (. * > and white space), control bytes and the percent
// sign become %XX; no two strings share a token.
func EscapeToken(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < 0x80 && escaped(byte(r)) }) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; escaped(c) {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// UnescapeToken reads what [EscapeToken] wrote.
func UnescapeToken(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("token %q: cut escape", s)
		}
		hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
		if hi < 0 || lo < 0 {
			return "", fmt.Errorf("token %q: bad escape %q", s, s[i:i+3])
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), nil
}

func escaped(c byte) bool {
	return c <= ' ' || c == 0x7f || c == '.' || c == '*' || c == '>' || c == '%'
}

// orToken escapes s, or returns the stand-in for the empty string. A value that
// looks like the stand-in has its first byte escaped, so both can be told apart.
func orToken(s, empty string) string {
	switch s {
	case "":
		return empty
	case empty:
		return string([]byte{'%', hexDigits[s[0]>>4], hexDigits[s[0]&15]}) + s[1:]
	default:
		return EscapeToken(s)
	}
}

func orElse(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}
