package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"periplus.dev/kubeapi/kinds"
	"periplus.dev/kubeapi/logstore"
)

// HandlerPrefix is what the paths of [Config.Handlers] begin with.
const HandlerPrefix = "/periplus/v1/"

// What the server is started with, so that its users need only this package.
type (
	// Projection is what the server reads; *projections.Projection is one.
	Projection = logstore.Projection
	// Log is what the server appends to; events.Log is one.
	Log = logstore.Log
	// NodeBackend reaches the agents of the nodes.
	NodeBackend = kinds.NodeBackend
	// PodRef names a pod to a NodeBackend.
	PodRef = kinds.PodRef
	// TerminalSize is the size of a client's terminal.
	TerminalSize = kinds.TerminalSize
)

// Sealer keeps the values of Secrets out of the log; *sealing.Sealer is one.
// Both methods return a copy.
type Sealer interface {
	Seal(*corev1.Secret) (*corev1.Secret, error)
	Open(*corev1.Secret) (*corev1.Secret, error)
}

// Stream is a log and what was folded of it.
type Stream struct {
	World Projection
	Log   Log
}

// Config of a server. Main, Leases, Sealer, Nodes and Dir are required.
type Config struct {
	Main   Stream // all kinds but leases
	Leases Stream // coordination.k8s.io/leases, which are heartbeats and not history
	Sealer Sealer
	Nodes  NodeBackend
	Dir    string // data directory; certificates live in Dir/pki

	// Listener is where the server listens; if nil, BindAddress (127.0.0.1 if
	// empty) and Port (any free one if 0).
	Listener    net.Listener
	BindAddress string
	Port        int
	// Hosts are names and addresses that the server's certificate holds besides
	// those of this machine.
	Hosts []string

	// Handlers serve paths that begin with HandlerPrefix, after authentication
	// and authorization; one that ends with a slash serves all below it. A
	// request with follow=true in its query may last, any other is cut off after
	// a minute.
	Handlers map[string]http.Handler

	Version string           // of Periplus, shown by kubectl version; may be empty
	Logger  *zap.Logger      // nil: nothing is logged
	Now     func() time.Time // nil: the system clock
	NewID   func() string    // ids of events; nil: UUIDv7
}

// complete fills what was left out and checks the rest.
func (c Config) complete() (Config, error) {
	for name, missing := range map[string]bool{
		"Main": c.Main.World == nil || c.Main.Log == nil, "Leases": c.Leases.World == nil || c.Leases.Log == nil,
		"Sealer": c.Sealer == nil, "Nodes": c.Nodes == nil, "Dir": c.Dir == "",
	} {
		if missing {
			return c, fmt.Errorf("%s is required", name)
		}
	}
	for path := range c.Handlers {
		if !strings.HasPrefix(path, HandlerPrefix) {
			return c, fmt.Errorf("handler path %q does not begin with %s", path, HandlerPrefix)
		}
	}
	if c.BindAddress == "" {
		c.BindAddress = "127.0.0.1"
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.NewID == nil {
		c.NewID = newID
	}
	if c.Listener == nil {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", net.JoinHostPort(c.BindAddress, strconv.Itoa(c.Port)))
		if err != nil {
			return c, fmt.Errorf("listen: %w", err)
		}
		c.Listener = l
	}
	if _, ok := c.Listener.Addr().(*net.TCPAddr); !ok {
		return c, errors.Join(errors.New("the listener is not TCP"), c.Listener.Close())
	}
	return c, nil
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// hosts are the names and addresses under which the server can be reached.
func (c Config) hosts() []string {
	out := []string{"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	if name, err := os.Hostname(); err == nil {
		out = append(out, name)
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				out = append(out, n.IP.String())
			}
		}
	}
	out = append(out, c.Hosts...)
	slices.Sort(out)
	return slices.Compact(out)
}
