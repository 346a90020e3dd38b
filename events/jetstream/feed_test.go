package jetstream_test

import (
	"testing"

	"go.uber.org/zap/zaptest"

	"periplus.dev/events/jetstream"
	"periplus.dev/events/logtest"
)

func TestFeed(t *testing.T) {
	logtest.RunFeed(t, func(t *testing.T) logtest.Feed {
		return openFeed(t, start(t, jetstream.Config{}))
	})
}

func openFeed(t *testing.T, s *jetstream.Server) *jetstream.Feed {
	t.Helper()
	conn, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	f, err := jetstream.OpenFeed(t.Context(), conn, jetstream.FeedConfig{Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}
