package containerd

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
)

// Times after which a registry counts as absent. How long a pull may take as a
// whole is the caller's business.
const (
	dialPatience   = 10 * time.Second
	headerPatience = 30 * time.Second
)

// mirrors knows where images of a registry are to be asked for.
type mirrors struct {
	client *http.Client
	urls   map[string][]*url.URL // by registry host, in order
}

// newMirrors takes URLs that Config.check has found to be good.
func newMirrors(config map[string][]string) *mirrors {
	m := &mirrors{urls: map[string][]*url.URL{}, client: &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialPatience}).DialContext,
		TLSHandshakeTimeout:   dialPatience,
		ResponseHeaderTimeout: headerPatience,
		IdleConnTimeout:       time.Minute,
		ForceAttemptHTTP2:     true,
	}}}
	for host, list := range config {
		for _, text := range list {
			if u, err := url.Parse(text); err == nil {
				m.urls[host] = append(m.urls[host], u)
			}
		}
	}
	return m
}

// resolver asks the mirrors of a registry in their order, and then the registry:
// by https, or by plain http if it is on this machine.
func (m *mirrors) resolver() remotes.Resolver {
	authorizer := docker.NewDockerAuthorizer(docker.WithAuthClient(m.client))
	itself := docker.ConfigureDefaultRegistries(docker.WithClient(m.client),
		docker.WithPlainHTTP(docker.MatchLocalhost), docker.WithAuthorizer(authorizer))
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		var hosts []docker.RegistryHost
		for _, u := range m.urls[host] {
			hosts = append(hosts, docker.RegistryHost{
				Client: m.client, Authorizer: authorizer, Host: u.Host, Scheme: u.Scheme,
				Path:         strings.TrimSuffix(u.Path, "/") + "/v2",
				Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
			})
		}
		last, err := itself(host)
		return append(hosts, last...), err
	}})
}
