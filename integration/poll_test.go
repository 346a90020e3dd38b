package integration

import (
	"context"
	"errors"
	"time"
)

// beat is how often something outside of us is looked at that tells nobody when
// it is different.
const beat = 100 * time.Millisecond

// errTooLong says that what a test waits for did not happen.
var errTooLong = errors.New("it did not happen in time")

// until asks at each beat, and returns when the answer is yes or an error, or
// after the timeout.
func until(ctx context.Context, timeout time.Duration, ask func() (bool, error)) error {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	late := time.NewTimer(timeout)
	defer late.Stop()
	for {
		if yes, err := ask(); yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-late.C:
			return errTooLong
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
