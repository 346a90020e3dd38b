package jetstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Conn is a connection to a server.
type Conn struct {
	nc     *nats.Conn
	server *Server // nil if it is in another process
	loss   atomic.Pointer[loss]

	mu    sync.Mutex
	heads []*headFile // of logs on a server in another process
}

// loss is told to whom it concerns when the connection is lost.
type loss struct {
	tell  context.CancelFunc
	watch func(f func()) (stop func() bool)
}

func newLoss() *loss {
	ctx, cancel := context.WithCancel(context.Background())
	return &loss{tell: cancel, watch: func(f func()) func() bool { return context.AfterFunc(ctx, f) }}
}

// onLoss calls f, in a goroutine of its own, if the connection is lost before
// what it returns is called.
func (c *Conn) onLoss(f func()) (stop func()) {
	end := c.loss.Load().watch(f)
	return func() { end() }
}

func (c *Conn) lose() { c.loss.Swap(newLoss()).tell() }

// writable is nil unless it is known that the server cannot write.
func (c *Conn) writable() error {
	if c.server == nil {
		return nil
	}
	return c.server.space.writable()
}

// Connect is a connection within the process. [Server.Close] closes it.
func (s *Server) Connect() (*Conn, error) {
	c := &Conn{server: s}
	if err := c.connect("", nats.InProcessServer(inProcess{s}), nats.UserInfo(LogUser, s.cfg.Token)); err != nil {
		return nil, fmt.Errorf("connect to log server: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	return c, nil
}

// inProcess connects to the NATS server that runs at the time.
type inProcess struct{ s *Server }

// InProcessConn implements [nats.InProcessConnProvider].
func (p inProcess) InProcessConn() (net.Conn, error) {
	p.s.mu.Lock()
	ns := p.s.ns
	p.s.mu.Unlock()
	if ns == nil {
		return nil, errors.New("the log server is not running")
	}
	return ns.InProcessConn()
}

// DialConfig says where a server in another process is.
type DialConfig struct {
	// URL is nats://HOST:PORT or tls://HOST:PORT; several are separated by commas.
	URL string
	// Credentials is a file: credentials as NATS' own tools write them (a user's
	// JWT and seed), or what [WriteCredentials] writes. Empty for none.
	Credentials string
	// Logger takes what goes wrong on the connection; nil for nothing.
	Logger *zap.Logger
}

// Dial connects to a server in another process, which has to have JetStream.
func Dial(ctx context.Context, cfg DialConfig) (*Conn, error) {
	opts, err := credentials(cfg.Credentials)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.URL, err)
	}
	if deadline, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(time.Until(deadline)))
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	ctx, stop := within(ctx, defaultTimeout)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &Conn{}
	if err := c.connect(cfg.URL, append(opts, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		cfg.Logger.Warn("nats connection", zap.Error(err))
		cancel(err) // a refusal comes this way, not as an answer
	}))...); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.URL, err)
	}
	api, err := js.New(c.nc)
	if err == nil {
		_, err = api.AccountInfo(ctx)
	}
	switch {
	case err != nil && context.Cause(ctx) != nil:
		err = fmt.Errorf("connect to %s: ask for JetStream: %w", cfg.URL, context.Cause(ctx))
	case errors.Is(err, js.ErrJetStreamNotEnabled), errors.Is(err, js.ErrJetStreamNotEnabledForAccount), errors.Is(err, nats.ErrNoResponders):
		err = fmt.Errorf("connect to %s: the server answers but has no JetStream for us: start it with JetStream, and enable it for the account: %w", cfg.URL, err)
	case err != nil:
		err = fmt.Errorf("connect to %s: ask for JetStream: %w", cfg.URL, err)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connect keeps a connection for ever: only Close ends it.
func (c *Conn) connect(url string, opts ...nats.Option) error {
	c.loss.Store(newLoss())
	nc, err := nats.Connect(url, append([]nats.Option{
		nats.Name("periplus"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // an append during an outage fails at once rather than at an unknown time
		nats.IgnoreAuthErrorAbort(),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.lose() }),
	}, opts...)...)
	c.nc = nc
	return err
}

// Close ends the connection. What waits for an answer on it fails.
func (c *Conn) Close() {
	c.nc.Close()
	c.lose()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.heads {
		_ = h.close() // it was a hint
	}
	c.heads = nil
}

// head is the head file of a log; nil if there is none.
func (c *Conn) head(cfg LogConfig) (*headFile, error) {
	if cfg.HeadFile == "" {
		if c.server == nil {
			return nil, nil //nolint:nilnil // a nil one remembers nothing
		}
		return c.server.head(cfg.Stream)
	}
	h, err := openHead(cfg.HeadFile, cfg.Stream, false, cfg.Logger)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heads = append(c.heads, h)
	return h, nil
}

// WriteCredentials writes a file that [Dial] takes, readable by its owner only:
// a line user:password, then the certificate of the server's authority as PEM. It
// serves NATS' own tools as the file of the authority, too.
func WriteCredentials(path, user, token string, authority []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	if err = f.Chmod(0o600); err == nil {
		_, err = fmt.Fprintf(f, "%s:%s\n%s", user, token, authority)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write credentials: %w", err)
	}
	return nil
}

// credentials are the options that a file of either kind stands for.
func credentials(path string) ([]nats.Option, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read credentials: %w", err)
	}
	if strings.Contains(string(raw), "BEGIN NATS USER JWT") {
		return []nats.Option{nats.UserCredentials(path)}, nil
	}
	line, rest, _ := strings.Cut(string(raw), "\n")
	user, token, ok := strings.Cut(strings.TrimSpace(line), ":")
	if !ok || user == "" || token == "" {
		return nil, fmt.Errorf("read credentials: %s holds neither a NATS user JWT nor a line USER:PASSWORD", path)
	}
	opts := []nats.Option{nats.UserInfo(user, token)}
	if pool := x509.NewCertPool(); pool.AppendCertsFromPEM([]byte(rest)) {
		opts = append(opts, nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	}
	return opts, nil
}
