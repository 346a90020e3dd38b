package runtime_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"periplus.dev/nodeagent/runtime"
)

func TestBellWakesOncePerPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bell runtime.Bell
		ctx, cancel := context.WithCancel(t.Context())
		got, hold := make(chan string), make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			ended <- bell.Watch(ctx, func(e runtime.Event) { got <- e.UID; <-hold })
		}()
		if first := <-got; first != "" {
			t.Errorf("first event is for %q, want all pods", first)
		}
		for range 3 { // while the watcher is busy
			bell.Ring("b")
			bell.Ring("a")
		}
		close(hold)
		if a, b := <-got, <-got; a != "a" || b != "b" {
			t.Errorf("got %q and %q, want a and b", a, b)
		}
		synctest.Wait()
		select {
		case uid := <-got:
			t.Errorf("event for %q once too often", uid)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch = %v", err)
		}
	})
}

func TestDescribe(t *testing.T) {
	named := &runtime.Error{Reason: runtime.ReasonStart, Message: "no such file", Err: runtime.ErrNotFound}
	wrap := func(err error) error { return errors.Join(errors.New("start c"), err) }
	for name, c := range map[string]struct {
		err    error
		reason string
	}{
		"named":         {wrap(named), runtime.ReasonStart},
		"invalid image": {wrap(runtime.ErrInvalidImage), runtime.ReasonInvalidImage},
		"no image":      {wrap(runtime.ErrImageNotFound), runtime.ReasonPull},
		"anything else": {errors.New("x"), runtime.ReasonRun},
	} {
		if reason, message := runtime.Describe(c.err, runtime.ReasonRun); reason != c.reason || message == "" {
			t.Errorf("%s: %s: %s, want %s", name, reason, message, c.reason)
		}
	}
	if !errors.Is(named, runtime.ErrNotFound) {
		t.Error("the cause is hidden")
	}
}
