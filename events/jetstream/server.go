package jetstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
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
	// ReadToken lets a client follow what the log records on [LiveSubjects], and
	// nothing else; empty for no such client.
	ReadToken string
	// TLS is what clients in other processes have to speak; nil for plain text.
	TLS *tls.Config
	// SyncInterval is how long an acknowledged event may be only in the page
	// cache. Zero: it is on disk before it is acknowledged. Anything else loses
	// acknowledged events when the machine loses power.
	SyncInterval time.Duration
	// Reserve is how many bytes of the disk are left to others: appends are
	// refused below it. Zero: 64 MiB, or a tenth of a small disk; negative: none.
	Reserve int64
	// CutAt gives up the rest of a damaged log: everything from that event on,
	// which has to be the one that [DamageError] named, is set aside. Zero: a damaged
	// log is not opened.
	CutAt uint64
	// Logger takes what the server says; nil for nothing.
	Logger *zap.Logger

	checkNow int64 // bytes of the log to check before the start
}

// Users that the server knows when it listens: with [Config.Token] and with
// [Config.ReadToken].
const (
	LogUser  = "periplus"
	ReadUser = "reader"
)

// Server is a NATS server in this process. When the disk fails it goes on
// reading, refuses appends, and starts the NATS server again as soon as the disk
// works: NATS itself never writes again after a failed write.
type Server struct {
	cfg   Config
	log   *serverLog
	lock  *os.File
	space *space
	stop  context.CancelFunc
	works errgroup.Group

	damage atomic.Pointer[DamageError]

	mu    sync.Mutex
	port  int
	ns    *server.Server // nil while it is started again
	conns []*Conn
	heads []*headFile
}

// ErrInUse says that another server has the directory open.
var ErrInUse = errors.New("in use by another process")

// startTimeout bounds the start when the context does not. Recovery after a
// crash reads all that was not indexed.
const startTimeout = 5 * time.Minute

// maxPayload leaves room for headers and for a feed item around an object.
const maxPayload = 2 << 20

// tlsTimeout is how many seconds a client has for the handshake.
const tlsTimeout = 5

// Start opens the directory, recovers what is in it and runs a server on it. It
// returns when the server can be used. A directory that is open elsewhere is an
// [ErrInUse], a log that is not what it was a [DamageError].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.checkNow == 0 {
		cfg.checkNow = checkNow
	}
	s := &Server{cfg: cfg}
	if _, err := s.options(); err != nil {
		return nil, fmt.Errorf("start log server: %w", err)
	}
	var err error
	if s.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, fmt.Errorf("start log server: %w", err)
	}
	rest, err := s.open(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start log server in %s: %w", cfg.Dir, err), s.lock.Close())
	}
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.works.Go(func() error { s.mend(background); return nil })
	s.works.Go(func() error { s.checkRest(background, rest); return nil })
	s.works.Go(func() error { s.settle(background); return nil })
	return s, nil
}

func (s *Server) open(ctx context.Context) ([]later, error) {
	c := &checker{dir: s.cfg.Dir, lazy: s.cfg.SyncInterval > 0, most: s.cfg.checkNow, log: s.cfg.Logger}
	rest, err := c.whole(s.cfg.CutAt)
	if err != nil {
		return nil, err
	}
	if s.space, err = newSpace(s.cfg.Dir, s.cfg.Reserve, s.cfg.Logger); err != nil {
		return nil, err
	}
	s.log = newServerLog(s.cfg.Logger)
	return rest, s.run(ctx)
}

// options of the NATS server, new ones for each start: the server changes them.
func (s *Server) options() (*server.Options, error) {
	cfg := s.cfg
	if cfg.Dir == "" {
		return nil, errors.New("no directory given")
	}
	opts := &server.Options{
		ServerName:        "periplus",
		JetStream:         true,
		JetStreamMaxStore: math.MaxInt64 / 2, // what is free at the start says nothing about later
		StoreDir:          cfg.Dir,
		SyncAlways:        cfg.SyncInterval == 0,
		SyncInterval:      cfg.SyncInterval,
		MaxPayload:        maxPayload,
		DontListen:        cfg.Listen == "",
		NoSigs:            true,
		NoSystemAccount:   true,
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
	if s.port != 0 {
		opts.Port = s.port // clients look for it where it was
	}
	opts.Host = host
	opts.Users = []*server.User{{Username: LogUser, Password: cfg.Token}}
	if cfg.ReadToken != "" {
		opts.Users = append(opts.Users, &server.User{Username: ReadUser, Password: cfg.ReadToken, Permissions: readerPermissions()})
	}
	if opts.TLSConfig = cfg.TLS; cfg.TLS != nil {
		opts.TLS, opts.TLSTimeout = true, tlsTimeout
	}
	return opts, nil
}

// readerPermissions allow to listen to what was recorded. Publishing is denied
// altogether: an answer of the server to a reader's request goes to any subject
// that the request names, so that a request would be enough to write the log.
func readerPermissions() *server.Permissions {
	return &server.Permissions{
		Subscribe: &server.SubjectPermission{Allow: []string{LiveSubjects, "_INBOX.>"}},
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
	}
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

// run starts the NATS server.
func (s *Server) run(ctx context.Context) error {
	opts, err := s.options()
	if err != nil {
		return err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.log.forget()
	ns.SetLoggerV2(s.log, s.log.log.Core().Enabled(zap.DebugLevel), false, false)
	ns.Start()
	wait := startTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = time.Until(deadline)
	}
	if err = s.log.failure(); err == nil && !ns.ReadyForConnections(wait) {
		err = errors.Join(errors.New("not ready in time"), s.log.failure())
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ns = ns
	if addr, ok := ns.Addr().(*net.TCPAddr); ok {
		s.port = addr.Port
	}
	return nil
}

// URL is where other processes connect; empty if the server does not listen.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ns == nil || s.ns.Addr() == nil {
		return ""
	}
	scheme := "nats://"
	if s.cfg.TLS != nil {
		scheme = "tls://"
	}
	return scheme + s.ns.Addr().String()
}

// Damage is what was found in the older part of the log, which is checked while
// the server runs already; nil if nothing was found so far.
func (s *Server) Damage() *DamageError { return s.damage.Load() }

func (s *Server) checkRest(ctx context.Context, rest []later) {
	for _, check := range rest {
		d, err := check(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.cfg.Logger.Error("the older part of the log cannot be checked", zap.Error(err))
		case d != nil:
			s.damage.Store(d)
			s.cfg.Logger.Error("the log is damaged", zap.String("stream", d.Stream), zap.Uint64("seq", d.Seq), zap.Error(d))
		}
	}
}

// settle keeps the known heads of a lazy server up to date.
func (s *Server) settle(ctx context.Context) {
	if s.cfg.SyncInterval == 0 {
		return
	}
	tick := time.NewTicker(s.cfg.SyncInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		heads := slices.Clone(s.heads)
		s.mu.Unlock()
		for _, h := range heads {
			h.settle()
		}
	}
}

// head is the head file of a log in the server's directory.
func (s *Server) head(stream string) (*headFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.heads {
		if h.stream == stream {
			return h, nil
		}
	}
	h, err := openHead(headPath(s.cfg.Dir, stream), stream, s.cfg.SyncInterval > 0, s.cfg.Logger)
	if err == nil {
		s.heads = append(s.heads, h)
	}
	return h, err
}

// Close closes the connections, writes out what is pending, and returns when
// nothing of the server runs any more and its directory is free.
func (s *Server) Close() error {
	s.stop()
	_ = s.works.Wait() // none of them returns an error
	s.mu.Lock()
	conns, heads, ns := s.conns, s.heads, s.ns
	s.conns, s.heads, s.ns = nil, nil, nil
	s.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	var errs []error
	for _, h := range heads {
		errs = append(errs, h.close())
	}
	if err := s.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("free log directory: %w", err)
	}
	return nil
}
