package jetstream

import (
	"fmt"
	"sync"

	"go.uber.org/zap"
)

// serverLog takes what the NATS server says to zap: its notices to Debug, its
// warnings and errors as they are. It keeps the first fatal error, which the
// server reports to nobody else.
type serverLog struct {
	log *zap.Logger

	mu    sync.Mutex
	fatal error
}

func (s *serverLog) Noticef(format string, v ...any) { s.debug("nats notice", format, v) }
func (s *serverLog) Debugf(format string, v ...any)  { s.debug("nats debug", format, v) }
func (s *serverLog) Tracef(format string, v ...any)  { s.debug("nats trace", format, v) }

func (s *serverLog) Warnf(format string, v ...any) {
	s.log.Warn("nats warning", zap.String("text", fmt.Sprintf(format, v...)))
}

func (s *serverLog) Errorf(format string, v ...any) {
	s.log.Error("nats error", zap.String("text", fmt.Sprintf(format, v...)))
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
