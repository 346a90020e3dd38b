package integration

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/vishvananda/netlink"

	"periplus.dev/internal/testimage"
)

// nodePrefix begins the names of all real nodes that tests make.
const nodePrefix = "ppit-"

// nodeAddresses holds the pod addresses of all real nodes that tests make; each
// has a /24 of it.
var nodeAddresses = netip.MustParsePrefix("10.251.0.0/16")

// addressOf is the address in a form that a prefix knows.
func addressOf(a netlink.Addr) netip.Addr {
	ip, _ := netip.AddrFromSlice(a.IP)
	return ip.Unmap()
}

// realNode is the number of a real node of the tests, from 0 on, with what follows from it.
func realNode(n int, mirror string) (*binary, error) {
	base := nodeAddresses.Addr().As4()
	base[2] = byte(n)
	return newReal(fmt.Sprintf("%s%d", nodePrefix, n), netip.PrefixFrom(netip.AddrFrom4(base), 24), mirror)
}

// imagesOnce builds the images that real containers run.
var imagesOnce = sync.OnceValues(func() (map[string]v1.Image, error) {
	ctx := context.Background()
	toolbox := testimage.ToolboxSpec()
	toolbox.Dir = given.root
	box, err := testimage.Build(ctx, toolbox)
	if err != nil {
		return nil, err
	}
	nginx, err := testimage.Build(ctx, testimage.Spec{ImportPath: "./examples/nginx", Dir: given.root, ExposedPorts: []string{"80/tcp"}})
	if err != nil {
		return nil, err
	}
	return map[string]v1.Image{
		"nginx": nginx, "nginx:1.27": nginx, "periplus.example/toolbox:v1": box, "periplus.example/toolbox:v2": box,
	}, nil
})

// startRegistry serves the images on loopback as long as the test runs.
func startRegistry(t *testing.T) *testimage.Registry {
	t.Helper()
	images, err := imagesOnce()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := testimage.StartRegistry(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	for ref, image := range images {
		if err := registry.Push(t.Context(), ref, image); err != nil {
			t.Fatal(err)
		}
	}
	return registry
}

// example is the path of a file of the examples.
func example(name string) string { return filepath.Join(given.root, "examples", name) }
