package containerd_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/zap/zaptest"

	"periplus.dev/internal/testimage"
	"periplus.dev/nodeagent/containerd"
	"periplus.dev/nodeagent/runtime/runtimetest"
)

const toolbox = "periplus.example/toolbox:v1"

func TestContract(t *testing.T) {
	n := newNode(t)
	r := n.start(t)
	runtimetest.Run(t, runtimetest.Fixture{
		Runtime: r, Image: toolbox, Pullable: "nginx", Missing: n.registry.Host() + "/no-such-image",
		Archived: []string{"docker.io/library/a:latest", "docker.io/library/b:1"},
		Archive: func() (io.Reader, error) {
			var out bytes.Buffer
			err := testimage.WriteLayoutTar(&out, map[string]v1.Image{"a": n.image, "b:1": n.image})
			return &out, err
		},
	})
}

// node is a machine of its own to a test, as far as that goes.
type node struct {
	config   containerd.Config
	image    v1.Image
	registry *testimage.Registry
}

// newNode prepares a network namespace, a folder, the toolbox's image and a
// registry with it that stands in for docker.io. All is gone after the test.
func newNode(t testing.TB) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("real containers need root")
	}
	for _, program := range []string{"containerd", "runc", "containerd-shim-runc-v2"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: %v", program, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	image, err := testimage.Build(ctx, testimage.ToolboxSpec())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := testimage.StartRegistry(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, ref := range []string{"nginx", toolbox} {
		if err := registry.Push(ctx, ref, image); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "pp-node-") //nolint:usetesting // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &node{image: image, registry: registry, config: containerd.Config{
		Dir: dir, NodeName: "runtime-test", PodCIDR: netip.MustParsePrefix("10.252.7.0/24"), Logger: zaptest.NewLogger(t),
		Mirrors: map[string][]string{"docker.io": {registry.URL()}, "periplus.example": {registry.URL()}},
	}}
}

// start takes the node up, with the toolbox's image on it, until the test ends.
func (n *node) start(t testing.TB) *containerd.Runtime {
	t.Helper()
	r, err := containerd.Start(t.Context(), n.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Shutdown(ctx, true); err != nil {
			t.Error(err)
		}
	})
	if _, err := r.Pull(t.Context(), toolbox); err != nil {
		t.Fatal(err)
	}
	return r
}
