package jetstream_test

import (
	"errors"
	"testing"

	"go.uber.org/zap/zaptest"

	"periplus.dev/events/jetstream"
	"periplus.dev/events/logtest"
)

var errDone = errors.New("done")

// start runs a server that syncs every message, in a directory of the test.
func start(t testing.TB, cfg jetstream.Config) *jetstream.Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := jetstream.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func open(t testing.TB, s *jetstream.Server, cfg jetstream.LogConfig) *jetstream.Log {
	t.Helper()
	conn, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	l, err := jetstream.Open(t.Context(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Log {
		return open(t, start(t, jetstream.Config{}), jetstream.LogConfig{Logger: zaptest.NewLogger(t)})
	})
}
