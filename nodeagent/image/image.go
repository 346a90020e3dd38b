// Package image reads image references the way people write them and decides
// whether an image has to be pulled. It asks nobody and does no I/O. Start at
// [Parse] and [Decide].
package image

import (
	_ "crypto/sha256" // digests in references are checked
	_ "crypto/sha512"
	"fmt"

	"github.com/distribution/reference"

	"periplus.dev/nodeagent/runtime"
)

// Ref is a reference in full.
type Ref struct {
	Domain     string // of the registry: "docker.io", "localhost:5000"
	Repository string // with the domain: "docker.io/library/nginx"
	Tag        string // "latest" if neither tag nor digest was given; may be empty beside a digest
	Digest     string // "sha256:…", or empty
}

// Parse completes a reference as Docker does: "nginx" is
// "docker.io/library/nginx:latest". The error wraps [runtime.ErrInvalidImage].
func Parse(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%w name %q: %w", runtime.ErrInvalidImage, s, err)
	}
	named = reference.TagNameOnly(named)
	r := Ref{Domain: reference.Domain(named), Repository: named.Name()}
	if tagged, ok := named.(reference.Tagged); ok {
		r.Tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		r.Digest = digested.Digest().String()
	}
	return r, nil
}

// String is the full name: with the digest if there is one, otherwise with the
// tag. Parsing it gives the same image.
func (r Ref) String() string {
	if r.Digest != "" {
		return r.Repository + "@" + r.Digest
	}
	return r.Repository + ":" + r.Tag
}

// ID is how Kubernetes shows an image of that repository with the given digest.
func (r Ref) ID(digest string) string { return r.Repository + "@" + digest }

// Policy says when an image is pulled; the values are those of imagePullPolicy.
type Policy string

// Policies.
const (
	Always       Policy = "Always"
	IfNotPresent Policy = "IfNotPresent"
	Never        Policy = "Never"
)

// DefaultPolicy is what Kubernetes puts where a pod names no policy: Always for
// the tag latest, because it moves, otherwise IfNotPresent.
func DefaultPolicy(r Ref) Policy {
	if r.Digest == "" && r.Tag == "latest" {
		return Always
	}
	return IfNotPresent
}

// Verdict is what to do about an image before a container is made of it.
type Verdict string

// Verdicts.
const (
	Use    Verdict = "use"    // it is here
	Pull   Verdict = "pull"   // ask the registry
	Refuse Verdict = "refuse" // it is not here and must not be pulled: ErrImageNeverPull
)

// Decide applies a policy, or the default one if it is empty or unknown.
func Decide(p Policy, r Ref, present bool) Verdict {
	if p != Always && p != IfNotPresent && p != Never {
		p = DefaultPolicy(r)
	}
	switch {
	case p == Always:
		return Pull
	case present:
		return Use
	case p == Never:
		return Refuse
	default:
		return Pull
	}
}
