package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"

	"periplus.dev/events"
)

// apiError is how JetStream says no.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// Error codes of the server that decide what an append's outcome is.
const (
	codeWrongLast         = 10071 // the subject's last sequence is another one
	codeWrongLastInFlight = 10164 // another write to the subject is under way
	codeDuplicateInBatch  = 10201 // an id of the batch is recorded already
	codeBatchIncomplete   = 10176
	codeBatchesInFlight   = 10210
	codeAccountResources  = 10002
	codeServerResources   = 10023
	codeMemoryResources   = 10028
	codeStorageResources  = 10047
	codeStoreFailed       = 10077
	codeMessageTooLarge   = 10054
	codeHeaderTooLarge    = 10097
	codeBatchTooLarge     = 10199
)

// errRefused says that the stream recorded nothing because of what it holds:
// either the subject has moved on, or the event is there already. Which of both
// is for the appender to find out.
var errRefused = errors.New("refused for what the log holds")

// outcome says what an error of the server means for an append.
func (e *apiError) outcome() error {
	switch e.ErrCode {
	case codeWrongLast, codeWrongLastInFlight, codeDuplicateInBatch:
		return errRefused
	case codeBatchIncomplete, codeBatchesInFlight, codeAccountResources, codeServerResources, codeMemoryResources, codeStorageResources:
		return events.ErrTemporary
	case codeMessageTooLarge, codeHeaderTooLarge, codeBatchTooLarge:
		return events.ErrTooLarge
	case codeStoreFailed:
		// The store says "maximum bytes exceeded" before it writes. Other
		// failures may have come after the write.
		if strings.Contains(e.Description, "exceeded") {
			return events.ErrTemporary
		}
	}
	return nil
}

// ack is the server's answer to a publish. Seq is the sequence of the message,
// or of the last one of a batch.
type ack struct {
	Error *apiError `json:"error"`
	Seq   uint64    `json:"seq"`
	Count int       `json:"count"`
}

// readAck reads an answer. An error that wraps none of errRefused,
// [events.ErrTemporary] and [events.ErrTooLarge] leaves the outcome unknown.
func readAck(data []byte) (ack, error) {
	var a ack
	if err := json.Unmarshal(data, &a); err != nil {
		return ack{}, fmt.Errorf("read acknowledgement: %w", err)
	}
	if a.Error != nil {
		if kind := a.Error.outcome(); kind != nil {
			return ack{}, fmt.Errorf("%w: %w", kind, a.Error)
		}
		return ack{}, a.Error
	}
	if a.Seq == 0 {
		return ack{}, errors.New("acknowledgement without a sequence")
	}
	return a, nil
}

// temporaryIf wraps an error of a request as [events.ErrTemporary] if the
// request cannot have reached the stream.
func temporaryIf(err error, verb string) error {
	if errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrReconnectBufExceeded) {
		return fmt.Errorf("%s: %w: %w", verb, events.ErrTemporary, err)
	}
	return fmt.Errorf("%s: %w", verb, err)
}
