package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"periplus.dev/internal/cluster"
	"periplus.dev/nodeagent/containerd"
	"periplus.dev/nodeagent/fakeruntime"
	"periplus.dev/nodeagent/volume"
)

// Names below the data directory.
const (
	logDir       = "log"
	nodeDir      = "node"
	settingsFile = "config.yaml" // the settings the cluster was last started with
)

// running is a cluster with what has to be let go when it ends.
type running struct {
	*cluster.Cluster

	dir     dataDir
	closers []func() error // in the order of opening
}

// newCluster opens the log and the node of a directory. What it returns has to
// be run or closed.
func newCluster(ctx context.Context, d dataDir, cfg upConfig, listener net.Listener, logger *zap.Logger) (c *running, err error) {
	c = &running{dir: d}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if err := d.save(cfg); err != nil {
		return c, err
	}
	conf := cluster.Config{
		Dir: string(d), Listener: listener, Version: version, Now: time.Now, NewID: newID, Logger: logger,
	}
	if err := c.openLog(ctx, cfg.logConfig, &conf); err != nil {
		return c, err
	}
	if err := c.openSnapshots(ctx, cfg.logConfig, &conf); err != nil {
		return c, err
	}
	if err := c.openNodes(ctx, cfg, &conf); err != nil {
		return c, err
	}
	c.Cluster, err = cluster.New(conf)
	return c, err
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

func (c *running) openNodes(ctx context.Context, cfg upConfig, conf *cluster.Config) error {
	if cfg.HollowNodes > 0 {
		nodes, err := hollowNodes(cfg.HollowNodes)
		conf.Nodes = nodes
		return err
	}
	prefix, err := netip.ParsePrefix(cfg.PodCIDR)
	if err != nil {
		return fmt.Errorf("read podCIDR: %w", err)
	}
	rt, err := containerd.Start(ctx, containerd.Config{
		Dir: c.dir.path(nodeDir), NodeName: cfg.NodeName, PodCIDR: prefix, Mirrors: cfg.RegistryMirrors, Logger: conf.Logger,
	})
	if err != nil {
		return err
	}
	c.closers = append(c.closers, func() error {
		return rt.Shutdown(context.WithoutCancel(ctx), false)
	})
	conf.Nodes = []cluster.Node{{
		Name: cfg.NodeName, Runtime: rt, PodCIDR: cfg.PodCIDR, Addresses: hostAddresses(), Dir: c.dir.volumes().Root,
	}}
	return nil
}

// hollowNodes are nodes on the fake runtime; each has a /24 of 10.0.0.0/8.
func hollowNodes(n int) ([]cluster.Node, error) {
	nodes := make([]cluster.Node, n)
	for i := range nodes {
		name := fmt.Sprintf("hollow-%d", i+1)
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(64 + (i >> 8)), byte(i), 0}), 24)
		rt, err := fakeruntime.New(fakeruntime.Config{NodeName: name, PodCIDR: prefix})
		if err != nil {
			return nil, fmt.Errorf("make node %s: %w", name, err)
		}
		nodes[i] = cluster.Node{Name: name, Runtime: rt, PodCIDR: prefix.String(), Addresses: []string{"127.0.0.1"}}
	}
	return nodes, nil
}

// hostAddresses are the unicast addresses of this host, those of other hosts'
// reach first, loopback if there is no other.
func hostAddresses() []string {
	var out []string
	addrs, _ := net.InterfaceAddrs() // an error leaves us with loopback
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			out = append(out, ip.IP.String())
		}
	}
	if len(out) == 0 {
		return []string{"127.0.0.1"}
	}
	return out[:1]
}

// run runs the cluster until ctx ends and lets everything go.
func (c *running) run(ctx context.Context, ready func()) error {
	if err := c.WriteKubeconfig(c.dir.kubeconfig()); err != nil {
		return errors.Join(err, c.close())
	}
	return errors.Join(c.Run(ctx, ready), c.close())
}

func (c *running) close() error {
	var errs []error
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer())
	}
	c.closers = nil
	return errors.Join(errs...)
}

// save keeps the settings for down --purge, which has to know the node.
func (d dataDir) save(cfg upConfig) error {
	raw, err := yaml.Marshal(cfg)
	if err == nil {
		err = os.WriteFile(d.path(settingsFile), raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save settings: %w", err)
	}
	return nil
}

// settings are what the cluster was last started with.
func (d dataDir) settings() (upConfig, error) {
	var cfg upConfig
	raw, err := os.ReadFile(d.path(settingsFile))
	if err == nil {
		err = yaml.UnmarshalStrict(raw, &cfg)
	}
	if err != nil {
		return cfg, fmt.Errorf("read settings: %w", err)
	}
	return cfg, nil
}

// purgeNode removes all that runs on the real node of a directory, if it has one.
func purgeNode(ctx context.Context, d dataDir) error {
	if _, err := os.Stat(d.path(nodeDir)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	cfg, err := d.settings()
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(cfg.PodCIDR)
	if err != nil {
		return fmt.Errorf("read podCIDR: %w", err)
	}
	rt, err := containerd.Start(ctx, containerd.Config{Dir: d.path(nodeDir), NodeName: cfg.NodeName, PodCIDR: prefix, Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	if err := rt.Shutdown(ctx, true); err != nil {
		return err
	}
	return d.volumes().Purge()
}

// volumes are those of the pods of the real node.
func (d dataDir) volumes() volume.Dir {
	return volume.Dir{Root: filepath.Join(d.path(nodeDir), "volumes")}
}
