package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// upConfig holds the settings of a cluster in one process. In a --config file
// they have the names of the JSON tags; a flag given on the command line wins.
type upConfig struct {
	logConfig

	DataDir         string              `json:"dataDir"`
	APIListen       string              `json:"apiListen"`       // HOST:PORT, port 0 for any free one
	RegistryMirrors map[string][]string `json:"registryMirrors"` // registry host to base URLs, tried in order
	HollowNodes     int                 `json:"hollowNodes"`     // nodes on the fake runtime instead of a real one
	NodeName        string              `json:"nodeName"`        // of the real node; the host's name if empty
	PodCIDR         string              `json:"podCIDR"`         // IPv4 range of the real node's pods
}

const (
	defaultAPIListen = "127.0.0.1:6443"
	defaultPodCIDR   = "10.244.0.0/24"
	maxHollowNodes   = 10000
)

// upFlags are the flags of up, as given.
type upFlags struct {
	upConfig

	configFile string
	mirrors    []string
	detach     bool
}

func (f *upFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.DataDir, "data-dir", defaultDataDir(), "directory of the cluster: log, keys, kubeconfig, node state")
	fs.StringVar(&f.APIListen, "api-listen", defaultAPIListen, "HOST:PORT of the Kubernetes API; port 0 takes a free one")
	fs.StringArrayVar(&f.mirrors, "registry-mirror", nil, "HOST=URL: pull images of a registry host from here first, e.g. docker.io=http://127.0.0.1:5000 (repeatable)")
	fs.IntVar(&f.HollowNodes, "hollow-nodes", 0, "run so many nodes on the fake runtime instead of a real one; needs neither root nor containerd")
	fs.StringVar(&f.Durability, "durability", "", "when a change is acknowledged: sync (the default): when it is on disk; or interval:DURATION ("+minInterval.String()+" to "+maxInterval.String()+"): the disk is synced that often, and acknowledged changes of the last DURATION are lost when the machine loses power or its kernel crashes (not when the process is killed)")
	fs.StringVar(&f.NATSListen, "nats-listen", "", "HOST:PORT where the log's NATS server takes connections of other processes, with TLS; port 0 takes a free one; credentials: nats.creds and, for reading what is recorded, nats-reader.creds in the data directory")
	fs.StringVar(&f.NATSURL, "nats-url", "", "keep the log on this NATS server with JetStream instead of the embedded one: nats://HOST:PORT or tls://HOST:PORT, several separated by commas")
	fs.StringVar(&f.NATSCreds, "nats-creds", "", "file of credentials for --nats-url: of NATS (JWT and seed), or the nats.creds of another cluster's --nats-listen")
	fs.Uint64Var(&f.CutAt, "cut-log-at", 0, "after damage only: drop the event that the start has named and all after it; what is dropped is kept in the log directory as cut-LOG-SEQUENCE")
	fs.StringVar(&f.configFile, "config", "", "YAML file with the same settings: dataDir, apiListen, registryMirrors, hollowNodes, nodeName, podCIDR, durability, natsListen, natsURL, natsCreds")
	fs.BoolVar(&f.detach, "detach", false, "run in the background and return when the cluster is ready")
}

// resolve merges the config file under the flags that were given, fills in
// defaults and checks the result.
func (f *upFlags) resolve(fs *pflag.FlagSet) (upConfig, error) {
	cfg := upConfig{}
	if f.configFile != "" {
		raw, err := os.ReadFile(f.configFile)
		if err != nil {
			return cfg, usagef("--config: %v", err)
		}
		if err := yaml.UnmarshalStrict(raw, &cfg); err != nil {
			return cfg, usagef("--config %s: %v", f.configFile, err)
		}
	}
	take := func(name string, set func()) {
		if fs.Changed(name) {
			set()
		}
	}
	take("data-dir", func() { cfg.DataDir = f.DataDir })
	take("api-listen", func() { cfg.APIListen = f.APIListen })
	take("hollow-nodes", func() { cfg.HollowNodes = f.HollowNodes })
	take("durability", func() { cfg.Durability = f.Durability })
	take("nats-listen", func() { cfg.NATSListen = f.NATSListen })
	take("nats-url", func() { cfg.NATSURL = f.NATSURL })
	take("nats-creds", func() { cfg.NATSCreds = f.NATSCreds })
	cfg.CutAt = f.CutAt
	for _, m := range f.mirrors {
		host, base, ok := strings.Cut(m, "=")
		if !ok || host == "" {
			return cfg, usagef("--registry-mirror %q: want HOST=URL, such as docker.io=http://127.0.0.1:5000", m)
		}
		if cfg.RegistryMirrors == nil {
			cfg.RegistryMirrors = map[string][]string{}
		}
		cfg.RegistryMirrors[host] = append(cfg.RegistryMirrors[host], base)
	}
	return cfg.complete()
}

func (c upConfig) complete() (upConfig, error) {
	if c.DataDir == "" {
		c.DataDir = defaultDataDir()
	}
	if c.APIListen == "" {
		c.APIListen = defaultAPIListen
	}
	if c.PodCIDR == "" {
		c.PodCIDR = defaultPodCIDR
	}
	var err error
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return c, usagef("data directory: %v", err)
	}
	if c.NATSCreds != "" {
		if c.NATSCreds, err = filepath.Abs(c.NATSCreds); err != nil {
			return c, usagef("nats-creds: %v", err)
		}
	}
	if c.NodeName == "" {
		if c.NodeName, err = hostNodeName(); err != nil {
			return c, err
		}
	}
	return c, c.check()
}

func hostNodeName() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("read host name: %w", err)
	}
	return strings.ToLower(strings.ReplaceAll(name, "_", "-")), nil
}

func checkListen(setting, address string) []error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return []error{fmt.Errorf("%s %q: want HOST:PORT: %w", setting, address, err)}
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return []error{fmt.Errorf("%s %q: port %q: want 0 to 65535", setting, address, port)}
	}
	if host != "" && host != "localhost" && net.ParseIP(host) == nil {
		return []error{fmt.Errorf("%s %q: host %q: want an IP address or localhost", setting, address, host)}
	}
	return nil
}

func checkMirrors(mirrors map[string][]string) []error {
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(mirrors)) {
		for _, base := range mirrors[host] {
			if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				errs = append(errs, fmt.Errorf("registry-mirror %s=%s: want an http or https URL", host, base))
			}
		}
	}
	return errs
}

// check names the setting, the value and what is allowed.
func (c upConfig) check() error {
	errs := append(checkListen("api-listen", c.APIListen), checkMirrors(c.RegistryMirrors)...)
	errs = append(errs, c.logConfig.check()...)
	if c.HollowNodes < 0 || c.HollowNodes > maxHollowNodes {
		errs = append(errs, fmt.Errorf("hollow-nodes %d: want 0 to %d", c.HollowNodes, maxHollowNodes))
	}
	if p, err := netip.ParsePrefix(c.PodCIDR); err != nil || !p.Addr().Is4() || p.Bits() < 12 || p.Bits() > 29 {
		errs = append(errs, fmt.Errorf("podCIDR %q: want an IPv4 range from /12 to /29", c.PodCIDR))
	}
	if msgs := validation.IsDNS1123Subdomain(c.NodeName); len(msgs) > 0 {
		errs = append(errs, fmt.Errorf("nodeName %q: %s", c.NodeName, strings.Join(msgs, ", ")))
	}
	if err := errors.Join(errs...); err != nil {
		return usagef("%v", err)
	}
	return nil
}
