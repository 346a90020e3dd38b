package serve

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"periplus.dev/events"
	"periplus.dev/history"
)

// Paths of the handlers.
const (
	HistoryPath = "/periplus/v1/history"
	WhyPath     = "/periplus/v1/why"
	TailPath    = "/periplus/v1/tail" // an answer may last for ever
	VersionPath = "/periplus/v1/version"
)

// Headers of the answers.
const (
	HeaderFrom    = "Periplus-From"    // first sequence that was looked at
	HeaderTo      = "Periplus-To"      // last sequence that was looked at
	HeaderVersion = "Periplus-Version" // of the server
)

// Log is what the handlers need of a log.
type Log interface {
	// Head is the sequence of the last event, 0 if there is none.
	Head(ctx context.Context) (uint64, error)
	// Read is as in [events.Log].
	Read(ctx context.Context, from uint64, fn func(r events.Recorded, head uint64) error) error
	// At returns the event with a sequence; ok is false if there is none.
	At(ctx context.Context, seq uint64) (r events.Recorded, ok bool, err error)
	// Of calls fn with every event of an object that is recorded now, in order.
	Of(ctx context.Context, key events.Key, fn func(events.Recorded) error) error
}

// Config of the handlers. Log is required.
type Config struct {
	Log     Log
	Version string          // of this program; "unknown" if empty
	Done    <-chan struct{} // ends every stream when it is closed; nil never does
}

// Version is the answer to [VersionPath].
type Version struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"` // "linux/amd64"
	Head      uint64 `json:"head"`     // sequence of the last event in the log
}

// Handlers are the handlers by their paths.
func Handlers(cfg Config) map[string]http.Handler {
	if cfg.Version == "" {
		cfg.Version = "unknown"
	}
	s := &server{cfg}
	return map[string]http.Handler{
		HistoryPath: s.handler(s.history),
		WhyPath:     s.handler(s.why),
		TailPath:    s.handler(s.tail),
		VersionPath: s.handler(s.version),
	}
}

type server struct{ Config }

// handler leads the errors of answer to the client. An answer that has begun to
// write deals with its errors itself.
func (s *server) handler(answer func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(HeaderVersion, s.Version)
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			e := apierrors.NewMethodNotSupported(schema.GroupResource{}, r.Method)
			e.ErrStatus.Message = r.Method + " is not supported on " + r.URL.Path + ": use GET"
			refuse(w, e)
			return
		}
		if err := answer(w, r); err != nil {
			refuse(w, err)
		}
	})
}

// statusOf is an error in Kubernetes' form.
func statusOf(err error) metav1.Status {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		switch {
		case errors.Is(err, events.ErrTemporary), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			known = apierrors.NewServiceUnavailable(err.Error())
		default:
			known = apierrors.NewInternalError(err)
		}
	}
	status := known.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	return status
}

func refuse(w http.ResponseWriter, err error) {
	status := statusOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = writeJSON(w, status)
}

// writeJSON writes one line. An error means that the client is gone: nobody is
// left to be told.
func writeJSON(w http.ResponseWriter, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (s *server) version(w http.ResponseWriter, r *http.Request) error {
	q := query{values: r.URL.Query()}
	if err := q.done(); err != nil {
		return err
	}
	head, err := s.Log.Head(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_ = writeJSON(w, Version{Version: s.Version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Head: head})
	return nil
}

func setRange(w http.ResponseWriter, from, to uint64) {
	w.Header().Set(HeaderFrom, strconv.FormatUint(from, 10))
	w.Header().Set(HeaderTo, strconv.FormatUint(to, 10))
}

// query reads parameters and remembers the first that is bad.
type query struct {
	values url.Values
	read   []string
	err    error
}

func (q *query) text(name string) string {
	q.read = append(q.read, name)
	all := q.values[name]
	if len(all) > 1 {
		q.bad("parameter " + name + " stands more than once")
	}
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

func (q *query) has(name string) bool { return len(q.values[name]) > 0 }

func (q *query) number(name string) uint64 {
	s := q.text(name)
	if !q.has(name) {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		q.bad("parameter " + name + "=" + strconv.Quote(s) + " is no whole number from 0 on")
	}
	return n
}

func (q *query) boolean(name string) bool {
	s := q.text(name)
	if !q.has(name) {
		return false
	}
	b, err := strconv.ParseBool(s)
	if err != nil {
		q.bad("parameter " + name + "=" + strconv.Quote(s) + " is neither true nor false")
	}
	return b
}

// key reads the name of an object.
func (q *query) key(name string) events.Key {
	s := q.text(name)
	k, err := events.ParseKey(s)
	if err != nil {
		q.bad("parameter " + name + ": " + err.Error())
	}
	return k
}

// Formats of an event.
const (
	FormatEntries     = "entries"
	FormatTold        = "told"
	FormatCloudEvents = "cloudevents"
)

// format reads the format, one of those allowed; the first of them if none is given.
func (q *query) format(allowed ...string) string {
	s := q.text("format")
	if !q.has("format") {
		return allowed[0]
	}
	if slices.Contains(allowed, s) {
		return s
	}
	q.bad("parameter format=" + strconv.Quote(s) + " is none of " + strings.Join(allowed, ", "))
	return ""
}

func (q *query) bad(why string) {
	if q.err == nil {
		q.err = apierrors.NewBadRequest(why)
	}
}

// done returns the first error; a parameter that nobody asked for is one.
func (q *query) done() error {
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		if !slices.Contains(q.read, name) {
			q.bad("unknown parameter " + strconv.Quote(name))
		}
	}
	return q.err
}

// notFound says that the log knows nothing of an object.
func notFound(k events.Key) error {
	e := apierrors.NewNotFound(schema.GroupResource{Group: k.Group, Resource: k.Resource}, k.Name)
	e.ErrStatus.Message = k.GroupResource() + " " + strconv.Quote(k.Name) + " not found"
	if k.Namespace != "" {
		e.ErrStatus.Message += " in namespace " + strconv.Quote(k.Namespace)
	}
	e.ErrStatus.Message += ": the log holds no event of it"
	return e
}

// noEvent says that the log holds no event with a sequence.
func noEvent(seq, head uint64) error {
	e := apierrors.NewNotFound(schema.GroupResource{Group: "periplus.dev", Resource: "events"}, strconv.FormatUint(seq, 10))
	e.ErrStatus.Message = "event " + strconv.FormatUint(seq, 10) + " not found: the last event in the log is " + strconv.FormatUint(head, 10)
	return e
}

// shown is an event in a format other than cloudevents.
func shown(format string, r, before events.Recorded) any {
	if format == FormatTold {
		return history.Tell(r, before)
	}
	return history.EntryOf(r)
}
