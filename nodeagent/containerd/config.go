package containerd

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"

	"go.uber.org/zap"
)

// Config describes a node. Dir, NodeName and PodCIDR are required.
type Config struct {
	Dir      string       // absolute; short enough for a socket below it (about 80 bytes)
	NodeName string       // also a part of cgroup paths
	PodCIDR  netip.Prefix // IPv4, /12 to /29; no other node's

	// Mirrors are asked, in their order, before the registry itself: host of the
	// registry ("docker.io") to base URLs ("http://127.0.0.1:5000").
	Mirrors map[string][]string

	MaxPods  int         // what Info says; zero: 110
	Binary   string      // containerd; empty: found on PATH
	Parallel int         // starts, and likewise stops, at a time; zero: twice the cores
	Logger   *zap.Logger // nil: nothing is logged
}

// longestSocket is what the kernel takes for the path of a socket.
const longestSocket = 107

var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func (c Config) check() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("directory %q is not absolute", c.Dir)
	}
	if n := len(c.socket()); n > longestSocket {
		return fmt.Errorf("directory %s is too long for a socket: %d bytes, at most %d", c.Dir, n, longestSocket)
	}
	if !nodeName.MatchString(c.NodeName) {
		return fmt.Errorf("node name %q", c.NodeName)
	}
	for host, mirrors := range c.Mirrors {
		for _, m := range mirrors {
			u, err := url.Parse(m)
			if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
				return fmt.Errorf("mirror %q of %s: %w", m, host, errors.New("want a URL with http or https"))
			}
		}
	}
	return nil
}

// owner tells the node's interfaces from those of another one of the same name on
// the same machine.
func (c Config) owner() string { return c.NodeName + "@" + c.Dir }

func (c Config) socket() string          { return c.path("containerd", "c.sock") }
func (c Config) sandboxDir() string      { return c.path("sandboxes") }
func (c Config) fifoDir() string         { return c.path("fifo") }
func (c Config) logDir() string          { return c.path("pods") }
func (c Config) path(e ...string) string { return filepath.Join(append([]string{c.Dir}, e...)...) }
