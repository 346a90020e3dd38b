package serve

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"periplus.dev/events"
	"periplus.dev/history"
)

// history answers with all that happened to an object.
func (s *server) history(w http.ResponseWriter, r *http.Request) error {
	q := query{values: r.URL.Query()}
	key, limit, format := q.key("object"), q.number("limit"), q.format(FormatEntries, FormatTold)
	if err := q.done(); err != nil {
		return err
	}
	head, err := s.Log.Head(r.Context())
	if err != nil {
		return err
	}
	var all []any
	var before events.Recorded // last event of the desired half
	err = s.Log.Of(r.Context(), key, func(e events.Recorded) error {
		if e.Seq > head {
			return nil
		}
		all = append(all, shown(format, e, before))
		if limit > 0 && uint64(len(all)) > limit {
			all = all[1:]
		}
		if e.Subject.Half == events.Desired && fat(e) {
			before = e
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case len(all) == 0:
		return notFound(key)
	}
	setRange(w, 1, head)
	w.Header().Set("Content-Type", lines)
	for _, e := range all {
		if err := writeJSON(w, e); err != nil {
			return nil //nolint:nilerr // the client is gone
		}
	}
	return nil
}

func fat(r events.Recorded) bool {
	spec, ok := events.Lookup(r.Type)
	return ok && spec.Fat
}

// why answers with the causes of one event: the one that is named, or the one
// that explains why an object is as it is.
func (s *server) why(w http.ResponseWriter, r *http.Request) error {
	q := query{values: r.URL.Query()}
	format := q.format(FormatEntries, FormatTold)
	last, seq := q.boolean("last"), q.number("seq")
	var key events.Key
	named := q.has("seq")
	switch {
	case named && (q.has("object") || q.has("last")):
		q.bad("give either seq or object, and last only with object")
	case !named:
		key = q.key("object")
	}
	if err := q.done(); err != nil {
		return err
	}
	head, err := s.Log.Head(r.Context())
	if err != nil {
		return err
	}
	if !named {
		if seq, err = s.telling(r.Context(), key, last, head); err != nil {
			return err
		}
	}
	chain, err := s.chain(r.Context(), seq, head)
	if err != nil {
		return err
	}
	answer, err := s.shownAll(r.Context(), format, chain)
	if err != nil {
		return err
	}
	if named {
		setRange(w, chain[len(chain)-1].Seq, seq)
	} else {
		setRange(w, 1, head)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = writeJSON(w, answer)
	return nil
}

// chain is the event with a sequence and what led to it.
func (s *server) chain(ctx context.Context, seq, head uint64) ([]events.Recorded, error) {
	chain, err := history.Why(seq, func(seq uint64) (events.Recorded, bool, error) { return s.Log.At(ctx, seq) })
	switch {
	case errors.Is(err, history.ErrUnknown):
		return nil, noEvent(seq, head)
	case errors.Is(err, history.ErrBroken):
		return nil, apierrors.NewInternalError(err)
	default:
		return chain, err
	}
}

// shownAll is a chain in a format.
func (s *server) shownAll(ctx context.Context, format string, chain []events.Recorded) ([]any, error) {
	answer := make([]any, 0, len(chain))
	for _, e := range chain {
		before, err := s.before(ctx, format, e)
		if err != nil {
			return nil, err
		}
		answer = append(answer, shown(format, e, before))
	}
	return answer, nil
}

// telling is the sequence of the event that explains an object.
func (s *server) telling(ctx context.Context, key events.Key, last bool, head uint64) (uint64, error) {
	var life history.Life
	err := s.Log.Of(ctx, key, func(e events.Recorded) error {
		if e.Seq <= head {
			life = life.Fold(e)
		}
		return nil
	})
	switch {
	case err != nil:
		return 0, err
	case life.Last == 0:
		return 0, notFound(key)
	case last:
		return life.Last, nil
	default:
		return life.Telling(), nil
	}
}

// before looks up the event before a fat one, if the format needs it.
func (s *server) before(ctx context.Context, format string, r events.Recorded) (events.Recorded, error) {
	if format != FormatTold || !fat(r) {
		return events.Recorded{}, nil
	}
	state, err := events.Decode[events.State](r)
	if err != nil || state.Previous == 0 || state.Previous >= r.Seq {
		return events.Recorded{}, nil //nolint:nilerr // the sentence says that the payload cannot be read
	}
	before, _, err := s.Log.At(ctx, state.Previous)
	return before, err
}
