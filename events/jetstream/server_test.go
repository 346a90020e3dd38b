package jetstream_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"periplus.dev/events"
	"periplus.dev/events/jetstream"
)

func TestDirectoryIsHeldByOne(t *testing.T) {
	dir := t.TempDir()
	s, err := jetstream.Start(t.Context(), jetstream.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jetstream.Start(t.Context(), jetstream.Config{Dir: dir}); !errors.Is(err, jetstream.ErrInUse) {
		t.Errorf("second start: %v, want %v", err, jetstream.ErrInUse)
	}
	l := open(t, s, jetstream.LogConfig{})
	p := created("web", events.FactCreated, 0)
	if _, err := l.Append(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	again := open(t, start(t, jetstream.Config{Dir: dir}), jetstream.LogConfig{})
	if r, ok, err := again.Last(t.Context(), p.Subject); err != nil || !ok || r.ID != p.ID {
		t.Errorf("after a restart the last event is %q, %v, %v", r.ID, ok, err)
	}
}

func TestStartRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	blocked := t.TempDir() // where the server wants a folder there is a file
	if err := os.WriteFile(filepath.Join(blocked, "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, cfg := range map[string]jetstream.Config{
		"no directory":             {},
		"a file":                   {Dir: file},
		"a file where a folder is": {Dir: blocked},
		"listening without token":  {Dir: dir, Listen: "127.0.0.1:0"},
		"no port":                  {Dir: dir, Listen: "127.0.0.1", Token: "t"},
		"port not a number":        {Dir: dir, Listen: "127.0.0.1:web", Token: "t"},
	} {
		if s, err := jetstream.Start(t.Context(), cfg); err == nil {
			t.Errorf("%s: started", name)
			_ = s.Close()
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if s, err := jetstream.Start(t.Context(), jetstream.Config{Dir: dir, Listen: taken.Addr().String(), Token: "t"}); err == nil {
		t.Error("started on a port in use")
		_ = s.Close()
	} else if !strings.Contains(err.Error(), "in use") {
		t.Errorf("port in use: %v", err)
	}
	start(t, jetstream.Config{Dir: dir}) // and nothing holds the directory
}

func TestDial(t *testing.T) {
	s := start(t, jetstream.Config{Listen: "127.0.0.1:0", Token: "secret"})
	if _, err := dial(t, s.URL(), "wrong"); err == nil {
		t.Error("connected with a wrong token")
	}
	conn, err := dial(t, s.URL(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l, err := jetstream.Open(t.Context(), conn, jetstream.LogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), created("web", events.FactCreated, 0)); err != nil {
		t.Error(err)
	}
	if within := start(t, jetstream.Config{}); within.URL() != "" {
		t.Errorf("a server that does not listen is at %q", within.URL())
	}
}

func dial(t *testing.T, url, token string) (*jetstream.Conn, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "creds")
	if err := jetstream.WriteCredentials(file, "periplus", token, nil); err != nil {
		t.Fatal(err)
	}
	return jetstream.Dial(t.Context(), jetstream.DialConfig{URL: url, Credentials: file})
}

// TestGarbage: whoever does not speak NATS is shown the door, and nobody else
// notices.
func TestGarbage(t *testing.T) {
	s := start(t, jetstream.Config{Listen: "127.0.0.1:0", Token: "secret"})
	l := open(t, s, jetstream.LogConfig{})
	address := strings.TrimPrefix(s.URL(), "nats://")
	for _, garbage := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", strings.Repeat("A", 100_000) + "\r\n",
		"CONNECT {\r\n", "PUB pp.log.obj.core.pods.default.x 1\r\nx\r\n", "PUB x 99999999999999999999\r\n",
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(garbage)) // the server may have hung up before its end
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20q: the connection stays", garbage)
		}
		_ = c.Close()
	}
	if _, err := l.Append(t.Context(), created("web", events.FactCreated, 0)); err != nil {
		t.Error(err)
	}
	if head, err := l.Head(t.Context()); err != nil || head != 1 {
		t.Errorf("head is %d, %v; want 1", head, err)
	}
}

// TestNoJetStream: a server that cannot keep a log is named as the reason.
func TestNoJetStream(t *testing.T) {
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	defer ns.WaitForShutdown()
	defer ns.Shutdown()
	if !ns.ReadyForConnections(20 * time.Second) {
		t.Fatal("server is not ready")
	}
	_, err = jetstream.Dial(t.Context(), jetstream.DialConfig{URL: ns.ClientURL()})
	if err == nil || !strings.Contains(err.Error(), "has no JetStream for us") {
		t.Errorf("dial: %v", err)
	}
}
