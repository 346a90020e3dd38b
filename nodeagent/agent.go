package nodeagent

import (
	"context"
	"errors"
	"maps"
	stdruntime "runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"periplus.dev/events"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/volume"
)

// Appender is what an agent needs of the log; see [events.Log].
type Appender interface {
	Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error)
	Last(ctx context.Context, s events.Subject) (r events.Recorded, ok bool, err error)
}

// Config of an agent. Node, Runtime, Log and Feed are required.
type Config struct {
	Node    string
	Runtime runtime.Runtime
	Log     Appender
	Feed    events.FeedReader

	Volumes    volume.Dir        // where pods' volumes are made; zero: nowhere, for a fake runtime
	Labels     map[string]string // of the node, beside those that every node has
	Addresses  []string          // of the node; empty: what the runtime says
	PodCIDR    string            // empty: what the runtime says
	ClusterDNS []string          // name servers of pods; empty: the node's own
	Domain     string            // of the cluster; empty: "cluster.local"
	Version    string            // of the agent, as `kubectl get nodes` shows it

	StartParallel int              // how many starts, pulls and removals, each, go on at once; zero: twice the CPUs
	Now           func() time.Time // nil: the system's clock
	NewID         func() string    // of events, UUIDv7; nil: made here
	Logger        *zap.Logger      // nil: none
}

// Agent runs the pods of one node.
type Agent struct {
	cfg    Config
	info   runtime.Info // set by Run before anything else
	queue  *queue
	look   *lister
	starts slots
	pulls  slots
	stops  slots
	synced chan struct{} // closed when the feed has told all
	sweeps chan int      // epochs after which it is time to sweep

	mu      sync.Mutex
	pods    map[string]*worker // by UID
	inputs  inputs
	epoch   int        // how often the feed has said that it told all
	origin  events.Ref // the first event of the log; zero until the feed has told all
	workers sync.WaitGroup
}

// New makes an agent; [Agent.Run] runs it. The error names what is missing.
func New(c Config) (*Agent, error) {
	switch {
	case c.Node == "":
		return nil, errors.New("new agent: no node name")
	case c.Runtime == nil, c.Log == nil, c.Feed == nil:
		return nil, errors.New("new agent: runtime, log and feed are required")
	}
	if c.StartParallel <= 0 {
		c.StartParallel = 2 * stdruntime.NumCPU()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = func() string { return uuid.Must(uuid.NewV7()).String() }
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	c.Logger = c.Logger.With(zap.String("node", c.Node))
	return &Agent{
		cfg: c, queue: newQueue(), look: newLister(), synced: make(chan struct{}), sweeps: make(chan int, 1),
		starts: newSlots(c.StartParallel), pulls: newSlots(c.StartParallel), stops: newSlots(c.StartParallel),
		pods: map[string]*worker{}, inputs: newInputs(),
	}, nil
}

// Run registers the node and runs its pods until ctx ends, whose error it
// returns. It waits for all that it began; containers go on running. It is to be
// called once.
func (a *Agent) Run(ctx context.Context) error {
	defer a.workers.Wait()
	if err := a.learn(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.follow(ctx) })
	g.Go(func() error { return a.watch(ctx) })
	g.Go(func() error { return a.list(ctx) })
	g.Go(func() error { return a.dispatch(ctx) })
	g.Go(func() error { return a.register(ctx) })
	return g.Wait()
}

// learn asks the runtime what the node is, until it answers.
func (a *Agent) learn(ctx context.Context) error {
	return a.persist(ctx, "describe node", func() error {
		info, err := a.cfg.Runtime.Info(ctx)
		if err != nil {
			return err
		}
		if len(a.cfg.Addresses) > 0 {
			info.Addresses = a.cfg.Addresses
		}
		if a.cfg.PodCIDR != "" {
			info.PodCIDR = a.cfg.PodCIDR
		}
		a.info = info
		return nil
	})
}

// Pauses between tries of what should have worked.
const (
	minPause = 200 * time.Millisecond
	maxPause = 30 * time.Second
)

// persist does something until it succeeds or ctx ends.
func (a *Agent) persist(ctx context.Context, what string, do func() error) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.cfg.Logger.Warn("trying again", zap.String("what", what), zap.Duration("in", pause), zap.Error(err))
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dispatch gives each worker that was woken a goroutine, and sweeps.
func (a *Agent) dispatch(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case epoch := <-a.sweeps:
			a.sweep(epoch)
		case <-a.queue.ready:
		}
		for _, w := range a.queue.take() {
			a.workers.Go(func() { w.run(ctx) })
		}
	}
}

// queue holds the workers that were woken and have no goroutine yet.
type queue struct {
	ready chan struct{} // holds one token if there are any
	mu    sync.Mutex
	woken []*worker
}

func newQueue() *queue { return &queue{ready: make(chan struct{}, 1)} }

func (q *queue) put(w *worker) {
	q.mu.Lock()
	q.woken = append(q.woken, w)
	q.mu.Unlock()
	ring(q.ready)
}

func (q *queue) take() []*worker {
	q.mu.Lock()
	defer q.mu.Unlock()
	woken := q.woken
	q.woken = nil
	return woken
}

// ring leaves a token, unless there is one.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// slots limit how many things of a kind go on at once.
type slots chan struct{}

func newSlots(n int) slots { return make(slots, n) }

func (s slots) take(ctx context.Context) error {
	select {
	case s <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) give() { <-s }

// all returns the workers, in a fixed order.
func (a *Agent) all() []*worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*worker, 0, len(a.pods))
	for _, uid := range slices.Sorted(maps.Keys(a.pods)) {
		out = append(out, a.pods[uid])
	}
	return out
}
