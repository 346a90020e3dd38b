package jetstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Config of the embedded server.
type Config struct {
	// Dir holds the streams. It is made if it is not there.
	Dir string
	// Listen is HOST:PORT for clients in other processes, with port 0 for any
	// free one. Empty: nobody but this process can connect.
	Listen string
	// Token is what those clients have to know; required with Listen.
	Token string
	// SyncInterval is how long an acknowledged event may be only in the page
	// cache. Zero: it is on disk before it is acknowledged. Anything else loses
	// acknowledged events when the machine loses power.
	SyncInterval time.Duration
	// Logger takes what the server says; nil for nothing.
	Logger *zap.Logger
}

// Server is a NATS server in this process.
type Server struct {
	ns    *server.Server
	token string
	lock  *os.File

	mu    sync.Mutex
	conns []*Conn
}

// ErrInUse says that another server has the directory open.
var ErrInUse = errors.New("in use by another process")

// startTimeout bounds the start when the context does not. Recovery after a
// crash reads all that was not indexed.
const startTimeout = 5 * time.Minute

// maxPayload leaves room for headers and for a feed item around an object.
const maxPayload = 2 << 20

// Start opens the directory, recovers what is in it and runs a server on it. It
// returns when the server can be used. A directory that is open elsewhere is an
// [ErrInUse].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	opts, err := options(cfg)
	if err != nil {
		return nil, fmt.Errorf("start log server: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start log server: %w", err)
	}
	ns, err := run(ctx, opts, cfg.Logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start log server in %s: %w", cfg.Dir, err), lock.Close())
	}
	return &Server{ns: ns, token: cfg.Token, lock: lock}, nil
}

func options(cfg Config) (*server.Options, error) {
	if cfg.Dir == "" {
		return nil, errors.New("no directory given")
	}
	opts := &server.Options{
		ServerName:      "periplus",
		JetStream:       true,
		StoreDir:        cfg.Dir,
		SyncAlways:      cfg.SyncInterval == 0,
		SyncInterval:    cfg.SyncInterval,
		MaxPayload:      maxPayload,
		DontListen:      cfg.Listen == "",
		Authorization:   cfg.Token,
		NoSigs:          true,
		NoSystemAccount: true,
	}
	if cfg.Listen == "" {
		return opts, nil
	}
	if cfg.Token == "" {
		return nil, errors.New("listening needs a token: whoever can connect can write the log")
	}
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("read listen address: %w", err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("read listen address %s: port: %w", cfg.Listen, err)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	opts.Host = host
	return opts, nil
}

// lockDir makes the directory and holds it for this process as long as the file
// is open; the kernel lets go of it when the process dies.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrInUse
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

func run(ctx context.Context, opts *server.Options, log *zap.Logger) (*server.Server, error) {
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, err
	}
	sl := &serverLog{log: log}
	ns.SetLoggerV2(sl, log.Core().Enabled(zap.DebugLevel), false, false)
	ns.Start()
	wait := startTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	if err = sl.failure(); err == nil && !ns.ReadyForConnections(wait) {
		err = errors.Join(errors.New("not ready in time"), sl.failure())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return ns, nil
}

// URL is where other processes connect; empty if the server does not listen.
func (s *Server) URL() string {
	addr := s.ns.Addr()
	if addr == nil {
		return ""
	}
	return "nats://" + addr.String()
}

// Connect is a connection within the process. [Server.Close] closes it.
func (s *Server) Connect() (*Conn, error) {
	nc, err := nats.Connect("", append(connOptions(s.token), nats.InProcessServer(s.ns))...)
	if err != nil {
		return nil, fmt.Errorf("connect to log server: %w", err)
	}
	c := &Conn{nc: nc}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c)
	return c, nil
}

// Close closes the connections, writes out what is pending, and returns when
// nothing of the server runs any more and its directory is free.
func (s *Server) Close() error {
	s.mu.Lock()
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	s.ns.Shutdown()
	s.ns.WaitForShutdown()
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("free log directory: %w", err)
	}
	return nil
}

// Conn is a connection to a server.
type Conn struct{ nc *nats.Conn }

// Dial connects to a server in another process.
func Dial(ctx context.Context, url, token string) (*Conn, error) {
	opts := connOptions(token)
	if deadline, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(time.Until(deadline)))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	return &Conn{nc: nc}, nil
}

// connOptions reconnect for ever: only Close ends a connection.
func connOptions(token string) []nats.Option {
	return []nats.Option{
		nats.Name("periplus"),
		nats.Token(token),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // an append during an outage fails at once rather than at an unknown time
		nats.IgnoreAuthErrorAbort(),
	}
}

// Close ends the connection. What waits for an answer on it fails.
func (c *Conn) Close() { c.nc.Close() }
