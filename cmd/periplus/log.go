package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"periplus.dev/events/jetstream"
	"periplus.dev/internal/cluster"
)

// logConfig says where the log is and what it promises.
type logConfig struct {
	Durability string `json:"durability,omitempty"` // sync or interval:DURATION
	NATSListen string `json:"natsListen,omitempty"` // HOST:PORT of the embedded server; empty for none
	NATSURL    string `json:"natsURL,omitempty"`    // of a server to use instead of the embedded one
	NATSCreds  string `json:"natsCreds,omitempty"`  // file of credentials for it

	// CutAt is not a setting: it is said once, after damage.
	CutAt uint64 `json:"-"`
}

const (
	durabilitySync     = "sync"
	durabilityInterval = "interval:"
	minInterval        = 10 * time.Millisecond
	maxInterval        = time.Minute
)

// syncInterval is how long an acknowledged change may be unsynced; 0 for never.
func (c logConfig) syncInterval() (time.Duration, error) {
	if c.Durability == "" || c.Durability == durabilitySync {
		return 0, nil
	}
	text, ok := strings.CutPrefix(c.Durability, durabilityInterval)
	d, err := time.ParseDuration(text)
	if !ok || err != nil || d < minInterval || d > maxInterval {
		return 0, fmt.Errorf("durability %q: want sync, or interval:DURATION from %s to %s, such as interval:1s", c.Durability, minInterval, maxInterval)
	}
	return d, nil
}

func (c logConfig) check() []error {
	var errs []error
	if _, err := c.syncInterval(); err != nil {
		errs = append(errs, err)
	}
	if c.NATSListen != "" {
		errs = append(errs, checkListen("nats-listen", c.NATSListen)...)
	}
	for server := range strings.SplitSeq(c.NATSURL, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if c.NATSURL != "" && (err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls") {
			errs = append(errs, fmt.Errorf("nats-url %q: want nats://HOST:PORT or tls://HOST:PORT, several separated by commas", server))
		}
	}
	switch {
	case c.NATSURL == "" && c.NATSCreds != "":
		errs = append(errs, errors.New("nats-creds is for the server of nats-url, which is not given"))
	case c.NATSURL == "":
	case c.NATSListen != "":
		errs = append(errs, errors.New("nats-url and nats-listen: want one of them: the embedded server does not run when another one is used"))
	case c.Durability != "":
		errs = append(errs, errors.New("nats-url and durability: how durable that server is, is its own setting (sync_interval)"))
	case c.CutAt != 0:
		errs = append(errs, errors.New("nats-url and cut-log-at: only the embedded server's log can be cut"))
	}
	return errs
}

// openLog opens what the cluster keeps its events in.
func (c *running) openLog(ctx context.Context, cfg logConfig, conf *cluster.Config) error {
	main := jetstream.LogConfig{Logger: conf.Logger}
	conn, err := c.connectLog(ctx, cfg, &main)
	if err != nil {
		return err
	}
	if conf.Log, err = jetstream.Open(ctx, conn, main); err != nil {
		return advise(err, c.dir, cfg)
	}
	leases := jetstream.LogConfig{Stream: "LEASES", Prefix: "pp.lease", KeepLast: 1, JoinFrom: main.JoinFrom, Logger: conf.Logger}
	if conf.Leases, err = jetstream.Open(ctx, conn, leases); err != nil {
		return err
	}
	conf.Feed, err = jetstream.OpenFeed(ctx, conn, jetstream.FeedConfig{Logger: conf.Logger})
	return err
}

// connectLog starts the embedded server, or connects to another one.
func (c *running) connectLog(ctx context.Context, cfg logConfig, main *jetstream.LogConfig) (*jetstream.Conn, error) {
	if cfg.NATSURL != "" {
		conn, err := jetstream.Dial(ctx, jetstream.DialConfig{URL: cfg.NATSURL, Credentials: cfg.NATSCreds, Logger: main.Logger})
		if err != nil {
			return nil, fmt.Errorf("use the log of --nats-url: %w", err)
		}
		c.closers = append(c.closers, func() error { conn.Close(); return nil })
		main.HeadFile = c.dir.path("nats-log.head")
		return conn, nil
	}
	interval, err := cfg.syncInterval()
	if err != nil {
		return nil, err
	}
	if interval > 0 {
		main.JoinFrom = -1 // there is no sync to share
	}
	conf := jetstream.Config{Dir: c.dir.path(logDir), SyncInterval: interval, Listen: cfg.NATSListen, CutAt: cfg.CutAt, Logger: main.Logger}
	if cfg.NATSListen != "" {
		if err := c.dir.admit(&conf); err != nil {
			return nil, err
		}
	}
	server, err := jetstream.Start(ctx, conf)
	if err != nil {
		return nil, advise(err, c.dir, cfg)
	}
	c.closers = append(c.closers, server.Close)
	if cfg.NATSListen != "" {
		main.Logger.Info("the log can be reached by others", zap.String("url", server.URL()),
			zap.String("credentials", c.dir.path(natsCredsFile)), zap.String("reader", c.dir.path(natsReaderFile)))
	}
	conn, err := server.Connect()
	if err != nil {
		return nil, fmt.Errorf("connect to the log: %w", err)
	}
	return conn, nil
}

// advise says what an operator can do about a damaged log.
func advise(err error, d dataDir, cfg logConfig) error {
	var damage *jetstream.DamageError
	if !errors.As(err, &damage) {
		return err
	}
	if cfg.NATSURL != "" {
		return fmt.Errorf("%w. Restore the stream from a backup; or, to accept the loss of these events, remove %s", err, d.path("nats-log.head"))
	}
	return fmt.Errorf("%w. Nothing was changed. Restore %s from a backup; or, to accept the loss of this event and of all after it, start once with --cut-log-at %d, which keeps what it takes out beside the log",
		err, d.path(logDir), damage.Seq)
}
