package testimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// headerTimeout is how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// Registry is an image registry in memory, meant to be used as the mirror of the
// registries of this world: nothing needs a network then.
type Registry struct {
	server *http.Server
	host   string
	done   chan struct{}

	mu    sync.Mutex
	reads map[string]int // of a manifest, by repository
}

// StartRegistry serves an empty registry in plain HTTP on a loopback address;
// port 0 takes a free one. Close stops it.
func StartRegistry(ctx context.Context, addr string) (*Registry, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("start registry on %s: not a loopback address", addr), listener.Close())
	}
	r := &Registry{
		host:  listener.Addr().String(),
		done:  make(chan struct{}),
		reads: map[string]int{},
	}
	blobs := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	r.server = &http.Server{Handler: r.count(blobs), ReadHeaderTimeout: headerTimeout}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(listener) // ends by Close only
	}()
	return r, nil
}

// URL returns where the registry is served, as `--registry-mirror` takes it.
func (r *Registry) URL() string { return "http://" + r.host }

// Host returns the registry's address without a scheme, for references into it.
func (r *Registry) Host() string { return r.host }

// Push stores an image under the repository and tag that a mirror is asked for
// when ref is pulled: "nginx" is library/nginx:latest, as on Docker Hub.
func (r *Registry) Push(ctx context.Context, ref string, image v1.Image) error {
	wanted, err := name.ParseReference(ref)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	target, err := name.ParseReference(r.host+"/"+wanted.Context().RepositoryStr()+separator(wanted)+wanted.Identifier(), name.Insecure)
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	if err := remote.Write(target, image, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

func separator(ref name.Reference) string {
	if _, ok := ref.(name.Digest); ok {
		return "@"
	}
	return ":"
}

// ManifestReads returns how often a manifest of the repository was asked for:
// by it a test sees whether an image was pulled again.
func (r *Registry) ManifestReads(repository string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads[repository]
}

// Close stops the registry and waits until it no longer serves.
func (r *Registry) Close() error {
	err := r.server.Close()
	<-r.done
	return err
}

// count notes who is asked for before the request is served.
func (r *Registry) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		repository, _, ok := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/manifests/")
		if ok && (req.Method == http.MethodGet || req.Method == http.MethodHead) {
			r.mu.Lock()
			r.reads[repository]++
			r.mu.Unlock()
		}
		next.ServeHTTP(w, req)
	})
}
