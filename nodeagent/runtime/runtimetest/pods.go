package runtimetest

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"periplus.dev/nodeagent/runtime"
)

func testSandboxes(t *testing.T, s *suite) {
	p := s.name()
	spec := runtime.SandboxSpec{Pod: p, Labels: map[string]string{"a": "b"}}
	first, err := s.Runtime.CreateSandbox(s.ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	again, err := s.Runtime.CreateSandbox(s.ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	state, ok := s.list(p.UID)
	if !ok || state.Sandbox == nil {
		t.Fatalf("listed: %v, %+v", ok, state)
	}
	for _, got := range []runtime.Sandbox{again, *state.Sandbox} {
		if !slices.Equal(got.IPs, first.IPs) || !got.CreatedAt.Equal(first.CreatedAt) || got.Labels["a"] != "b" {
			t.Errorf("got %+v, want %+v", got, first)
		}
	}
	if state.Pod != p {
		t.Errorf("listed as %+v, want %+v", state.Pod, p)
	}
	for range 2 {
		if err := s.Runtime.RemoveSandbox(s.ctx, p.UID); err != nil {
			t.Fatal(err)
		}
		if state, ok := s.list(p.UID); ok {
			t.Errorf("still there: %+v", state)
		}
	}
}

func testSandboxRefuses(t *testing.T, s *suite) {
	for name, c := range map[string]struct {
		change func(*runtime.SandboxSpec)
		want   error
	}{
		"no uid":       {func(s *runtime.SandboxSpec) { s.Pod.UID = "" }, runtime.ErrInvalid},
		"path as uid":  {func(s *runtime.SandboxSpec) { s.Pod.UID = "../x" }, runtime.ErrInvalid},
		"path as name": {func(s *runtime.SandboxSpec) { s.Pod.Name = "a/b" }, runtime.ErrInvalid},
		"no namespace": {func(s *runtime.SandboxSpec) { s.Pod.Namespace = "" }, runtime.ErrInvalid},
		"port of the node": {func(s *runtime.SandboxSpec) {
			s.HostPorts = []runtime.PortMapping{{Protocol: "TCP", HostPort: 8080, ContainerPort: 80}}
		}, runtime.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			spec := runtime.SandboxSpec{Pod: s.name()}
			c.change(&spec)
			_, err := s.Runtime.CreateSandbox(s.ctx, spec)
			if !errors.Is(err, c.want) {
				t.Errorf("err = %v, want %v", err, c.want)
			}
			if _, ok := s.list(spec.Pod.UID); ok {
				t.Error("something was left")
			}
		})
	}
}

// Each pod has an address of its own within the node's range, and gives it back.
func testAddresses(t *testing.T, s *suite) {
	info, err := s.Runtime.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	cidr := netip.MustParsePrefix(info.PodCIDR)
	seen := map[string]bool{}
	for range 3 {
		p := s.pod()
		state, _ := s.list(p.UID)
		if len(state.Sandbox.IPs) != 1 {
			t.Fatalf("addresses: %v", state.Sandbox.IPs)
		}
		ip := state.Sandbox.IPs[0]
		if seen[ip] || !cidr.Contains(netip.MustParseAddr(ip)) || slices.Contains(info.Addresses, ip) {
			t.Errorf("address %s: others %v, range %s, the node's %v", ip, seen, cidr, info.Addresses)
		}
		seen[ip] = true
	}
	host := s.name()
	sandbox, err := s.Runtime.CreateSandbox(s.ctx, runtime.SandboxSpec{Pod: host, HostNetwork: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(info.Addresses, sandbox.IPs[0]) || !sandbox.HostNetwork {
		t.Errorf("on the node's network: %+v, want one of %v", sandbox, info.Addresses)
	}
}

func testImages(t *testing.T, s *suite) {
	if img, ok, err := s.Runtime.Image(s.ctx, s.Image); err != nil || !ok || !wholeImage(img) {
		t.Errorf("toolbox: %+v, %v, %v", img, ok, err)
	}
	if _, ok, err := s.Runtime.Image(s.ctx, s.Pullable); err != nil || ok {
		t.Errorf("before the pull: %v, %v", ok, err)
	}
	for _, present := range []bool{false, true} {
		img, err := s.Runtime.Pull(s.ctx, s.Pullable)
		if err != nil {
			t.Fatal(err)
		}
		if img.Present != present || !wholeImage(img) {
			t.Errorf("pulled: %+v, want present %v", img, present)
		}
		found, ok, err := s.Runtime.Image(s.ctx, s.Pullable)
		if err != nil || !ok || found.ID != img.ID || found.Ref != img.Ref || found.Bytes != img.Bytes {
			t.Errorf("found %+v, %v, %v, want %+v", found, ok, err, img)
		}
		if byDigest, ok, err := s.Runtime.Image(s.ctx, img.ID); err == nil && ok && byDigest.Digest != img.Digest {
			t.Errorf("by digest: %+v", byDigest)
		}
	}
	_, err := s.Runtime.Pull(s.ctx, s.Missing)
	s.wantErr(err, runtime.ErrImageNotFound)
	for _, bad := range []string{"", "Nginx", "a b", "nginx:"} {
		_, err := s.Runtime.Pull(s.ctx, bad)
		s.wantErr(err, runtime.ErrInvalidImage)
		_, _, err = s.Runtime.Image(s.ctx, bad)
		s.wantErr(err, runtime.ErrInvalidImage)
	}
}

func wholeImage(img runtime.Image) bool {
	repository, digest, ok := strings.Cut(img.ID, "@")
	return ok && digest == img.Digest && strings.HasPrefix(digest, "sha256:") && strings.HasPrefix(img.Ref, repository) && img.Bytes > 0
}

func testImport(t *testing.T, s *suite) {
	for range 2 {
		archive, err := s.Archive()
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Runtime.Import(s.ctx, archive)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, img := range got {
			names = append(names, img.Ref)
			if found, ok, err := s.Runtime.Image(s.ctx, img.Ref); err != nil || !ok || found.ID != img.ID || !wholeImage(img) {
				t.Errorf("imported %+v, found %+v, %v, %v", img, found, ok, err)
			}
		}
		if !slices.Equal(names, s.Archived) {
			t.Errorf("imported %v, want %v", names, s.Archived)
		}
	}
	for _, bad := range []string{"", "this is no archive"} {
		_, err := s.Runtime.Import(s.ctx, strings.NewReader(bad))
		s.wantErr(err, runtime.ErrInvalidImage)
	}
}

func testInfo(t *testing.T, s *suite) {
	i, err := s.Runtime.Info(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := netip.ParsePrefix(i.PodCIDR); err != nil {
		t.Error(err)
	}
	for field, value := range map[string]string{
		"runtime": i.Runtime, "version": i.RuntimeVersion, "host": i.Hostname, "kernel": i.KernelVersion, "image": i.OSImage,
		"system": i.OperatingSystem, "architecture": i.Architecture, "boot": i.BootID,
	} {
		if value == "" {
			t.Errorf("%s is empty", field)
		}
	}
	if i.CPUMillis <= 0 || i.MemoryBytes <= 0 || i.StorageBytes <= 0 || i.MaxPods <= 0 || len(i.Addresses) == 0 {
		t.Errorf("capacity: %+v", i)
	}
}
