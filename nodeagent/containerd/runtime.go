package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	clientlog "github.com/containerd/log"
	"go.uber.org/zap"

	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// namespace is containerd's: it has a node's containers apart from those that
// others may make on the same daemon.
const namespace = "periplus"

// Runtime is a node on this machine. It implements [runtime.Runtime].
type Runtime struct {
	config  Config
	log     *zap.Logger
	client  *client.Client
	daemon  *daemon
	network *network.Routed
	bell    runtime.Bell
	mirrors *mirrors

	pods          keyed         // puts the verbs of one pod in order
	starts, stops chan struct{} // a token for each that is under way

	begun  chan *task     // to keep: containers that run and have nobody yet who waits for them
	shut   atomic.Bool    // Shutdown was called
	closed chan struct{}  // closed by Shutdown when no more containers may begin
	cancel func()         // ends the goroutines of group
	group  sync.WaitGroup // supervise, listen, keep and an await for each container that runs

	mu        sync.Mutex
	sandboxes map[string]*sandbox      // by UID
	running   map[string]*task         // by container id
	busy      map[string]runtime.Phase // of containers that are being started or removed, by id
	oomed     map[string]bool          // ids of containers of which a process ran out of memory
}

var _ runtime.Runtime = (*Runtime)(nil)

// Start takes a node up: it finds the node's containerd or starts one, finds what
// is on the node and goes on with it, and removes what a crash has left half
// made. It needs root. Shutdown has to be called in the end.
func Start(ctx context.Context, c Config) (*Runtime, error) {
	r, err := start(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("start node runtime: %w", err)
	}
	return r, nil
}

func start(ctx context.Context, c Config) (*Runtime, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("real containers need root")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Binary = cmp.Or(c.Binary, "containerd")
	c.MaxPods = cmp.Or(c.MaxPods, 110)
	c.Parallel = cmp.Or(c.Parallel, 2*goruntime.NumCPU())
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	// What containerd's client tries is in the errors that it returns.
	if err := clientlog.SetLevel(clientlog.ErrorLevel.String()); err != nil {
		return nil, fmt.Errorf("quieten containerd's client: %w", err)
	}
	routed, err := network.NewRouted(network.Config{Owner: c.owner(), CIDR: c.PodCIDR})
	if err != nil {
		return nil, err
	}
	r := &Runtime{
		config: c, log: c.Logger, network: routed, mirrors: newMirrors(c.Mirrors),
		daemon: &daemon{dir: c.path("containerd"), binary: c.Binary, log: c.Logger},
		starts: make(chan struct{}, c.Parallel), stops: make(chan struct{}, c.Parallel),
		begun: make(chan *task), closed: make(chan struct{}),
		sandboxes: map[string]*sandbox{}, running: map[string]*task{}, busy: map[string]runtime.Phase{}, oomed: map[string]bool{},
	}
	pid, err := r.daemon.ensure(ctx)
	if err != nil {
		return nil, err
	}
	r.client, err = client.New(c.socket(), client.WithDefaultNamespace(namespace), client.WithTimeout(startPatience))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.group.Go(func() { r.keep(life) })
	if err := r.restore(ctx); err != nil {
		return nil, errors.Join(err, r.Shutdown(ctx, false))
	}
	r.group.Go(func() { r.daemon.supervise(life, pid) })
	r.group.Go(func() { r.listen(life) })
	return r, nil
}

// Shutdown lets the node go. With everything false, containers and containerd go
// on, and a later Start finds them. With everything true, all pods are removed
// and containerd is stopped; images stay in its folder. A second call does nothing.
func (r *Runtime) Shutdown(ctx context.Context, everything bool) error {
	if r.shut.Swap(true) {
		return nil
	}
	var errs []error
	if everything {
		errs = append(errs, r.removeAll(ctx))
	}
	close(r.closed)
	r.cancel()
	r.group.Wait()
	r.mu.Lock()
	for _, t := range r.running {
		errs = append(errs, t.detach())
	}
	clear(r.running)
	r.mu.Unlock()
	errs = append(errs, r.client.Close())
	if everything {
		everyShim := func(string) bool { return true }
		errs = append(errs, r.daemon.stop(ctx), r.endShims(ctx, everyShim), unmountBelow(r.config.path("containerd")),
			r.network.Close(), removeUnused(r.cgroup()), removeUnused(path.Dir(r.cgroup())))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("shut node runtime down: %w", err)
	}
	return nil
}

func (r *Runtime) removeAll(ctx context.Context) error {
	pods, err := r.List(ctx)
	if err != nil {
		return err
	}
	errs := make([]error, len(pods))
	var group sync.WaitGroup
	for i, p := range pods {
		group.Go(func() { errs[i] = r.RemoveSandbox(ctx, p.Pod.UID) })
	}
	group.Wait()
	return errors.Join(errs...)
}

// Watch implements [runtime.State].
func (r *Runtime) Watch(ctx context.Context, fn func(runtime.Event)) error {
	return r.bell.Watch(ctx, fn)
}

// cgroup is the node's own group, in which each pod has one.
func (r *Runtime) cgroup(elem ...string) string {
	return path.Join(append([]string{"/periplus", r.config.NodeName}, elem...)...)
}

// underWay says what a container is to be called until done is called, while its
// records are not to be trusted.
func (r *Runtime) underWay(id string, phase runtime.Phase) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, nested := r.busy[id]
	r.busy[id] = phase
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if delete(r.busy, id); nested {
			r.busy[id] = before
		}
	}
}

// acquire takes one of the tokens that limit how much is done at a time.
func acquire(ctx context.Context, tokens chan struct{}) (release func(), err error) {
	select {
	case tokens <- struct{}{}:
		return func() { <-tokens }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// asTemporary marks an error of containerd's client as one that may go away:
// containerd is being started again, or too busy to answer.
func asTemporary(err error) error {
	if err == nil || errors.Is(err, runtime.ErrTemporary) {
		return err
	}
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) || errdefs.IsAborted(err) || errdefs.IsCanceled(err) {
		return fmt.Errorf("%w: %w", runtime.ErrTemporary, err)
	}
	return err
}

// pause waits a moment; it reports false if ctx ended first.
func pause(ctx context.Context) bool {
	select {
	case <-time.After(reconnectPause):
		return true
	case <-ctx.Done():
		return false
	}
}

// reconnectPause is how long to wait before asking a containerd again that did
// not answer.
const reconnectPause = 300 * time.Millisecond
