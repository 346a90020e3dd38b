package image_test

import (
	"errors"
	"strings"
	"testing"

	"periplus.dev/nodeagent/image"
	"periplus.dev/nodeagent/runtime"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParse(t *testing.T) {
	for in, want := range map[string]struct {
		full, domain string
		policy       image.Policy
	}{
		"nginx":                     {"docker.io/library/nginx:latest", "docker.io", image.Always},
		"nginx:1.27":                {"docker.io/library/nginx:1.27", "docker.io", image.IfNotPresent},
		"bitnami/redis":             {"docker.io/bitnami/redis:latest", "docker.io", image.Always},
		"index.docker.io/nginx":     {"docker.io/library/nginx:latest", "docker.io", image.Always},
		"localhost:5000/a/b:1":      {"localhost:5000/a/b:1", "localhost:5000", image.IfNotPresent},
		"localhost/a":               {"localhost/a:latest", "localhost", image.Always},
		"registry.k8s.io/pause:3.9": {"registry.k8s.io/pause:3.9", "registry.k8s.io", image.IfNotPresent},
		"nginx@" + digest:           {"docker.io/library/nginx@" + digest, "docker.io", image.IfNotPresent},
		"nginx:latest@" + digest:    {"docker.io/library/nginx@" + digest, "docker.io", image.IfNotPresent},
	} {
		t.Run(in, func(t *testing.T) {
			r, err := image.Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			if r.String() != want.full || r.Domain != want.domain || image.DefaultPolicy(r) != want.policy {
				t.Errorf("got %s in %s with %s, want %+v", r, r.Domain, image.DefaultPolicy(r), want)
			}
			if again, err := image.Parse(r.String()); err != nil || again.String() != r.String() {
				t.Errorf("parsed again: %s, %v", again, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", " ", "Nginx", "nginx:", "nginx:la test", "/nginx", "a//b", "nginx@sha256:12", "nginx@" + digest[:20],
		"docker.io/", strings.Repeat("a", 300), digest[7:], "http://x/y",
	} {
		if r, err := image.Parse(in); !errors.Is(err, runtime.ErrInvalidImage) {
			t.Errorf("%q: got %s, %v; want ErrInvalidImage", in, r, err)
		}
	}
}

func TestDecide(t *testing.T) {
	latest, fixed := image.Ref{Tag: "latest"}, image.Ref{Tag: "1"}
	for _, c := range []struct {
		policy  image.Policy
		ref     image.Ref
		present bool
		want    image.Verdict
	}{
		{image.Always, fixed, true, image.Pull},
		{image.Always, fixed, false, image.Pull},
		{image.IfNotPresent, latest, true, image.Use},
		{image.IfNotPresent, latest, false, image.Pull},
		{image.Never, latest, true, image.Use},
		{image.Never, latest, false, image.Refuse},
		{"", latest, true, image.Pull},
		{"", fixed, true, image.Use},
		{"", fixed, false, image.Pull},
		{"Sometimes", fixed, true, image.Use},
	} {
		if got := image.Decide(c.policy, c.ref, c.present); got != c.want {
			t.Errorf("Decide(%q, %s, %v) = %s, want %s", c.policy, c.ref.Tag, c.present, got, c.want)
		}
	}
}
