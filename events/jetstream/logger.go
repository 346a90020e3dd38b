package jetstream

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// serverLog takes what the NATS server says to zap: its notices to Debug, its
// warnings and errors as they are. It keeps the first fatal error, which the
// server reports to nobody else.
//
// It also listens for words that mean that the server will not write any more:
// the server tells them to nobody else, and answers to appends no longer come.
type serverLog struct {
	log  *zap.Logger
	sick chan error // holds one at most

	mu    sync.Mutex
	fatal error
}

func newServerLog(log *zap.Logger) *serverLog { return &serverLog{log: log, sick: make(chan error, 1)} }

// lastWords of the server before it stops to write, in any case of letters.
var lastWords = []string{"critical write error", "disabling jetstream", "will be disabled"}

func (s *serverLog) listen(text string) {
	low := strings.ToLower(text)
	if !slices.ContainsFunc(lastWords, func(words string) bool { return strings.Contains(low, words) }) {
		return
	}
	select {
	case s.sick <- fmt.Errorf("nats: %s", text):
	default: // it is known
	}
}

// forget what an earlier server said.
func (s *serverLog) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fatal = nil
	select {
	case <-s.sick: //nolint:errcheck // it is about a server that is gone
	default:
	}
}

func (s *serverLog) Noticef(format string, v ...any) { s.debug("nats notice", format, v) }
func (s *serverLog) Debugf(format string, v ...any)  { s.debug("nats debug", format, v) }
func (s *serverLog) Tracef(format string, v ...any)  { s.debug("nats trace", format, v) }

func (s *serverLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.log.Warn("nats warning", zap.String("text", text))
	s.listen(text)
}

func (s *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.log.Error("nats error", zap.String("text", text))
	s.listen(text)
}

// Fatalf does not end the process: [Start] returns the error.
func (s *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	s.log.Error("nats fatal", zap.String("text", text))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal == nil {
		s.fatal = fmt.Errorf("nats: %s", text)
	}
}

func (s *serverLog) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}

func (s *serverLog) debug(message, format string, v []any) {
	if s.log.Core().Enabled(zap.DebugLevel) {
		s.log.Debug(message, zap.String("text", fmt.Sprintf(format, v...)))
	}
}
