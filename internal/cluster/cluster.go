// Package cluster puts the parts together: projections of the log, reconcilers,
// the feed, node agents and the door, in one process over any log. The binary
// runs it over JetStream; scenarios run it over a log in memory as well.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/history/serve"
	"periplus.dev/kubeapi"
	"periplus.dev/nodeagent"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
	"periplus.dev/reconcilers/deployments"
	"periplus.dev/reconcilers/garbage"
	"periplus.dev/reconcilers/namespaces"
	"periplus.dev/reconcilers/replicas"
	"periplus.dev/reconcilers/scheduler"
	"periplus.dev/sealing"
	"periplus.dev/snapshots"
)

// Log is an event log with the look-ups that reading history needs.
type Log interface {
	events.Log
	Of(ctx context.Context, key events.Key, fn func(events.Recorded) error) error
	At(ctx context.Context, seq uint64) (events.Recorded, bool, error)
}

// Feed is both ends of the node feed.
type Feed interface {
	events.FeedWriter
	events.FeedReader
}

// Node is one node of the process.
type Node struct {
	Name    string
	Runtime runtime.Runtime
	PodCIDR string
	// Addresses are the node's own IP addresses, the main one first.
	Addresses []string
	Dir       string // for the files of volumes
}

// Config is everything a cluster is made of; all fields down to Logger are
// required.
type Config struct {
	Dir      string // keys and certificates
	Log      Log
	Leases   Log
	Feed     Feed
	Nodes    []Node
	Listener net.Listener // of the door
	Version  string
	Now      func() time.Time
	NewID    func() string // UUIDv7
	Logger   *zap.Logger

	// World is where the fold of the log begins, see [LoadWorld]; nil: before the
	// first event.
	World *projections.World
	// Snapshots keeps Worlds for the next start; nil: there are none.
	Snapshots *snapshots.Store
	// Unsynced is how long an acknowledged event may not be on disk yet.
	Unsynced time.Duration

	// Reconcilers replaces the standard ones if it is not nil.
	Reconcilers []reconcilers.Reconciler
}

// Reconcilers are the standard ones.
func Reconcilers() []reconcilers.Reconciler {
	return []reconcilers.Reconciler{
		namespaces.New(), deployments.New(), replicas.New(), scheduler.New(), garbage.New(),
	}
}

// Cluster is a cluster in this process.
type Cluster struct {
	cfg    Config
	world  *projections.Projection
	leases *projections.Projection
	agents map[string]*nodeagent.Agent
	sealer *sealing.Sealer
	door   *kubeapi.Server
	done   chan struct{} // closed when Run is to end: streams of history end with it

	verifying chan struct{} // holds an element while the log is folded anew
}

// New makes a cluster and listens; nothing runs before [Cluster.Run].
func New(cfg Config) (*Cluster, error) {
	if cfg.Reconcilers == nil {
		cfg.Reconcilers = Reconcilers()
	}
	if cfg.World == nil {
		cfg.World = projections.Empty()
	}
	c := &Cluster{cfg: cfg, world: projections.ProjectionFrom(cfg.World, 0), verifying: make(chan struct{}, 1), leases: projections.NewProjection(0), agents: map[string]*nodeagent.Agent{}, done: make(chan struct{})}
	var err error
	if c.sealer, err = sealing.LoadOrCreate(cfg.Dir); err != nil {
		return nil, fmt.Errorf("load cluster key: %w", err)
	}
	for _, n := range cfg.Nodes {
		if c.agents[n.Name], err = c.newAgent(n); err != nil {
			return nil, fmt.Errorf("make node %s: %w", n.Name, err)
		}
	}
	handlers := serve.Handlers(serve.Config{Log: cfg.Log, Version: cfg.Version, Done: c.done})
	handlers[ImagesPath] = http.HandlerFunc(c.loadImages)
	handlers[VerifyPath] = c.refolding(http.MethodGet, c.verify)
	handlers[RebuildPath] = c.refolding(http.MethodPost, c.rebuild)
	c.door, err = kubeapi.New(kubeapi.Config{
		Main: kubeapi.Stream{World: c.world, Log: cfg.Log}, Leases: kubeapi.Stream{World: c.leases, Log: cfg.Leases},
		Sealer: c.sealer, Nodes: c, Dir: cfg.Dir, Listener: cfg.Listener, Handlers: handlers,
		Version: cfg.Version, Now: cfg.Now, NewID: cfg.NewID, Logger: cfg.Logger.Named("kubeapi"),
	})
	if err != nil {
		return nil, fmt.Errorf("make door: %w", err)
	}
	return c, nil
}

// World is the projection of the cluster's log.
func (c *Cluster) World() *projections.Projection { return c.world }

// WriteKubeconfig writes the administrator's kubeconfig, readable by its owner.
func (c *Cluster) WriteKubeconfig(path string) error { return c.door.WriteKubeconfig(path) }

// Run runs the cluster until ctx ends, and calls ready once requests are
// answered, what always exists is there, and every node takes pods. The door
// ends first, so that requests under way are answered; the fold of the log last.
func (c *Cluster) Run(ctx context.Context, ready func()) error {
	defer context.AfterFunc(ctx, func() { close(c.done) })()
	by := events.Actor("user:system:admin")
	for _, log := range []Log{c.cfg.Log, c.cfg.Leases} {
		if err := controlplane.Initialize(ctx, log, c.cfg.Now(), c.cfg.NewID, by); err != nil {
			return err
		}
	}
	foldCtx, stopFolds := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFolds()
	folds, foldCtx := errgroup.WithContext(foldCtx)
	folds.Go(func() error { return controlplane.Follow(foldCtx, c.cfg.Log, c.world, c.cfg.Logger) })
	folds.Go(func() error { return controlplane.Follow(foldCtx, c.cfg.Leases, c.leases, c.cfg.Logger) })

	work, workCtx := errgroup.WithContext(ctx)
	work.Go(func() error { // a fold that ended takes the rest along
		select {
		case <-foldCtx.Done():
			return errors.New("the log can no longer be followed")
		case <-workCtx.Done():
			return nil
		}
	})
	c.startWork(workCtx, work)
	work.Go(func() error {
		if err := c.awaitReady(workCtx); err != nil {
			return err
		}
		ready()
		return nil
	})
	err := work.Wait()
	stopFolds()
	if foldErr := folds.Wait(); foldErr != nil {
		return foldErr
	}
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

func (c *Cluster) startWork(ctx context.Context, work *errgroup.Group) {
	for _, r := range c.cfg.Reconcilers {
		runner := controlplane.NewRunner(controlplane.RunnerConfig{
			Reconciler: r, World: c.world, Log: c.cfg.Log, Now: c.cfg.Now, NewID: c.cfg.NewID, Logger: c.cfg.Logger,
		})
		work.Go(func() error { return runner.Run(ctx) })
	}
	var names []string
	for _, n := range c.cfg.Nodes {
		names = append(names, n.Name)
	}
	feeder := controlplane.NewFeeder(controlplane.FeederConfig{
		World: c.world, Feed: c.cfg.Feed, Open: c.sealer.Open, Nodes: names, Logger: c.cfg.Logger,
	})
	work.Go(func() error { return feeder.Run(ctx) })
	for _, a := range c.agents {
		work.Go(func() error { return a.Run(ctx) })
	}
	if c.cfg.Snapshots != nil {
		work.Go(func() error { return c.snapshotter().Run(ctx) })
	}
	work.Go(func() error { return c.door.Run(ctx) })
}

// awaitReady waits until the default namespace and its service account are
// there, every node is ready, and the door answers.
func (c *Cluster) awaitReady(ctx context.Context) error {
	for {
		w := c.world.Current()
		changes, next, err := c.world.Changes("", w.Seq())
		if err != nil || len(changes) > 0 {
			continue // the World moved on meanwhile; next is for what comes after that
		}
		if c.isReady(w) {
			select {
			case <-c.door.Serving():
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Cluster) isReady(w *projections.World) bool {
	if _, ok := w.Get(events.Key{Resource: projections.ServiceAccounts, Namespace: "default", Name: "default"}); !ok {
		return false
	}
	for _, n := range c.cfg.Nodes {
		o, ok := w.Get(events.Key{Resource: projections.Nodes, Name: n.Name})
		if !ok || !projections.NodeIsReady(o) {
			return false
		}
	}
	return true
}
