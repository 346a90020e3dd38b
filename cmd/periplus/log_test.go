package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"periplus.dev/events"
	"periplus.dev/events/jetstream"
	"periplus.dev/internal/cluster"
)

func resolved(t *testing.T, args ...string) (upConfig, error) {
	t.Helper()
	f, fs := &upFlags{}, pflag.NewFlagSet("up", pflag.ContinueOnError)
	f.register(fs)
	if err := fs.Parse(append([]string{"--data-dir", t.TempDir()}, args...)); err != nil {
		t.Fatal(err)
	}
	return f.resolve(fs)
}

func TestLogSettings(t *testing.T) {
	for args, want := range map[string]time.Duration{
		"": 0, "--durability=sync": 0, "--durability=interval:1s": time.Second, "--durability interval:250ms": 250 * time.Millisecond,
	} {
		cfg, err := resolved(t, strings.Fields(args)...)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if got, err := cfg.syncInterval(); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", args, got, err, want)
		}
	}
	for args, want := range map[string]string{
		"--durability=never":                              `durability "never": want sync, or interval:DURATION from 10ms to 1m0s`,
		"--durability=interval":                           `durability "interval": want sync`,
		"--durability=interval:":                          `durability "interval:": want sync`,
		"--durability=interval:1":                         `durability "interval:1": want sync`,
		"--durability=interval:-1s":                       `durability "interval:-1s": want sync`,
		"--durability=interval:1h":                        `durability "interval:1h": want sync`,
		"--nats-listen=4222":                              `nats-listen "4222": want HOST:PORT`,
		"--nats-listen=127.0.0.1:http":                    `nats-listen "127.0.0.1:http": port "http": want 0 to 65535`,
		"--nats-url=http://127.0.0.1":                     `nats-url "http://127.0.0.1": want nats://HOST:PORT or tls://HOST:PORT`,
		"--nats-url=nats://a:1,b:2":                       `nats-url "b:2": want nats://HOST:PORT`,
		"--nats-creds=x":                                  "nats-creds is for the server of nats-url",
		"--nats-url=nats://a:1 --nats-listen=127.0.0.1:0": "nats-url and nats-listen: want one of them",
		"--nats-url=nats://a:1 --durability=sync":         "nats-url and durability: how durable that server is",
		"--nats-url=nats://a:1 --cut-log-at=5":            "nats-url and cut-log-at",
	} {
		_, err := resolved(t, strings.Fields(args)...)
		var usage usageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestLogSettingsInAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("durability: interval:2s\nnatsListen: 127.0.0.1:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := resolved(t, "--config", file, "--cut-log-at", "7")
	if err != nil || cfg.Durability != "interval:2s" || cfg.NATSListen != "127.0.0.1:0" || cfg.CutAt != 7 {
		t.Fatalf("%+v, %v", cfg.logConfig, err)
	}
	d := dataDir(t.TempDir())
	if err := d.save(cfg); err != nil {
		t.Fatal(err)
	}
	kept, err := d.settings()
	if err != nil || kept.Durability != cfg.Durability || kept.NATSListen != cfg.NATSListen || kept.CutAt != 0 {
		t.Errorf("kept %+v, %v", kept.logConfig, err)
	}
}

// opened opens a log as up does.
func opened(t *testing.T, d dataDir, cfg logConfig) (*running, cluster.Config, error) {
	t.Helper()
	c, conf := &running{dir: d}, cluster.Config{Logger: zap.NewNop()}
	err := c.openLog(t.Context(), cfg, &conf)
	t.Cleanup(func() { _ = c.close() })
	return c, conf, err
}

// TestLogElsewhere keeps the log of one directory on the server of another, with
// the credentials that the other wrote, also after its restart.
func TestLogElsewhere(t *testing.T) {
	host, guest := dataDir(t.TempDir()), dataDir(t.TempDir())
	conf := jetstream.Config{Dir: host.path(logDir), Listen: "127.0.0.1:0"}
	if err := host.admit(&conf); err != nil {
		t.Fatal(err)
	}
	server, err := jetstream.Start(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	creds := host.path(natsCredsFile)
	for _, file := range []string{creds, host.path(natsReaderFile), host.path(natsKeyFile)} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	if !strings.HasPrefix(server.URL(), "tls://127.0.0.1:") {
		t.Errorf("listens at %s", server.URL())
	}
	again := jetstream.Config{Listen: conf.Listen}
	if err := host.admit(&again); err != nil || again.Token != conf.Token || again.ReadToken != conf.ReadToken {
		t.Errorf("the credentials do not last: %v", err)
	}
	for name, wrong := range map[string]logConfig{
		"no credentials":   {NATSURL: server.URL()},
		"reader's":         {NATSURL: server.URL(), NATSCreds: host.path(natsReaderFile)},
		"not credentials":  {NATSURL: server.URL(), NATSCreds: host.path(natsKeyFile)},
		"credentials gone": {NATSURL: server.URL(), NATSCreds: host.path("nothing")},
		"nobody there":     {NATSURL: "nats://127.0.0.1:1", NATSCreds: creds},
	} {
		if _, _, err := opened(t, guest, wrong); err == nil || !strings.HasPrefix(err.Error(), "use the log of --nats-url: connect to ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, cluster, err := opened(t, guest, logConfig{NATSURL: server.URL(), NATSCreds: creds})
	if err != nil {
		t.Fatal(err)
	}
	key := events.Key{Resource: "configmaps", Namespace: "default", Name: "a"}
	p := events.New(key.Wanted(), 0, events.TypeOf("configmap", events.FactCreated), events.Ref{Change: "c"}, events.State{UID: "u"})
	p.ID, p.Source, p.Actor, p.Time = "id", events.DoorSource, "user:alice", time.Now()
	if _, err := cluster.Log.Append(t.Context(), p); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
	// The same directory with a server that has lost the event.
	empty, err := jetstream.Start(t.Context(), jetstream.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Token: conf.Token, TLS: conf.TLS})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = empty.Close() }()
	_, _, err = opened(t, guest, logConfig{NATSURL: empty.URL(), NATSCreds: creds})
	if err == nil || !strings.Contains(err.Error(), "event 1 is the first that is missing") || !strings.Contains(err.Error(), "remove "+guest.path("nats-log.head")) {
		t.Errorf("open a log that lost its end: %v", err)
	}
}

// TestDamagedLogIsRefused with advice, and opened when that is followed.
func TestDamagedLogIsRefused(t *testing.T) {
	d := dataDir(t.TempDir())
	c, _, err := opened(t, d, logConfig{Durability: "interval:1s"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	head := d.path(logDir + "/LOG.head")
	if err := os.WriteFile(head, []byte("LOG 00000000000000000003 27dae087\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = opened(t, d, logConfig{})
	if err == nil || !strings.Contains(err.Error(), "event 1 is the first that is missing") || !strings.Contains(err.Error(), "start once with --cut-log-at 1") {
		t.Fatalf("open: %v", err)
	}
	if _, _, err = opened(t, d, logConfig{CutAt: 1}); err != nil {
		t.Error(err)
	}
}
