package serve

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"periplus.dev/events"
	"periplus.dev/events/cloudevents"
)

// lines is the type of a stream with one JSON document a line.
const lines = "application/x-ndjson"

// errEnough ends a read that has all it wanted.
var errEnough = errors.New("read enough")

// tail answers with events in the order of the log, and goes on with new ones as
// they come if asked to follow.
func (s *server) tail(w http.ResponseWriter, r *http.Request) error {
	q := query{values: r.URL.Query()}
	format := q.format(FormatEntries, FormatTold, FormatCloudEvents)
	from, last, follow := q.number("from"), q.number("last"), q.boolean("follow")
	if q.has("from") && q.has("last") {
		q.bad("give either from or last")
	}
	if err := q.done(); err != nil {
		return err
	}
	ctx, cancel := s.until(r.Context())
	defer cancel()
	head, err := s.Log.Head(ctx)
	if err != nil {
		return err
	}
	if !q.has("from") {
		from = head - min(last, head) + 1
	}
	from = max(from, 1)
	end := uint64(0)
	if !follow {
		if end, err = s.lastIn(ctx, from, head); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", lines)
	w.WriteHeader(http.StatusOK)
	s.stream(ctx, w, stream{format: format, from: from, follow: follow, end: end})
	return nil
}

// lastIn is the last sequence from one to another that holds a valid event, 0 if
// none does.
func (s *server) lastIn(ctx context.Context, from, to uint64) (uint64, error) {
	for seq := to; seq >= from; seq-- {
		if _, ok, err := s.Log.At(ctx, seq); ok || err != nil {
			return seq, err
		}
	}
	return 0, nil
}

type stream struct {
	format string
	from   uint64
	follow bool
	end    uint64 // last event to be sent, if it does not follow
}

// stream writes the events, each at once. The answer has begun, so an error is
// written as its last line; what ends as it was meant to ends without.
func (s *server) stream(ctx context.Context, w http.ResponseWriter, st stream) {
	out := http.NewResponseController(w)
	if !st.follow && st.end == 0 {
		return
	}
	// A writer that cannot flush still writes; one whose client is gone ends ctx.
	_ = out.Flush()
	err := s.Log.Read(ctx, st.from, func(r events.Recorded, _ uint64) error {
		if !st.follow && r.Seq > st.end {
			return errEnough
		}
		v, err := s.line(ctx, st.format, r)
		if err != nil {
			return err
		}
		if err := writeJSON(w, v); err != nil {
			return errEnough // the client is gone
		}
		_ = out.Flush()
		if !st.follow && r.Seq == st.end {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return
	}
	if ctx.Err() != nil {
		err = apierrors.NewServiceUnavailable("the server ends this stream")
	}
	_ = writeJSON(w, statusOf(err))
}

func (s *server) line(ctx context.Context, format string, r events.Recorded) (any, error) {
	if format == FormatCloudEvents {
		return cloudevents.Of(r), nil
	}
	before, err := s.before(ctx, format, r)
	if err != nil {
		return nil, err
	}
	return shown(format, r, before), nil
}

// until is a context that also ends with the server.
func (s *server) until(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	if s.Done == nil {
		return ctx, cancel
	}
	stop := make(chan struct{})
	go func() {
		select {
		case <-s.Done:
			cancel()
		case <-stop:
		}
	}()
	return ctx, func() { close(stop); cancel() }
}
