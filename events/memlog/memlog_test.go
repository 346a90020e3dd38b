package memlog_test

import (
	"testing"

	"go.uber.org/goleak"

	"periplus.dev/events/logtest"
	"periplus.dev/events/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLog(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Log { return memlog.New(memlog.Config{}) })
}

func TestFeed(t *testing.T) {
	logtest.RunFeed(t, func(*testing.T) logtest.Feed { return &memlog.Feed{} })
}
