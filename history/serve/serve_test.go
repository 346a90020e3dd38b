package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/history"
	"periplus.dev/history/serve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	web    = events.Key{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}
	webSet = events.Key{Group: "apps", Resource: "replicasets", Namespace: "default", Name: "web-7f"}
	webPod = events.Key{Resource: "pods", Namespace: "default", Name: "web-7f-a"}
	secret = events.Key{Resource: "secrets", Namespace: "default", Name: "token"}
)

func replicas(n int) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
}

// story fills a log: a deployment is made and scaled, its pod exits and is gone.
func story(t *testing.T) *memlog.Log {
	t.Helper()
	l := memlog.New(memlog.Config{Now: func() time.Time { return noon }})
	for _, p := range []struct {
		t     events.Type
		k     events.Key
		after uint64
		cause uint64
		data  any
	}{
		1:  {events.TypeOf("deployment", events.FactCreated), web, 0, 0, events.State{UID: "d", Object: replicas(1)}},
		2:  {events.ReplicaSetRolledOut, webSet, 0, 1, events.State{UID: "s", Object: replicas(1)}},
		3:  {events.PodRequested, webPod, 0, 2, events.State{UID: "p", Object: replicas(0)}},
		4:  {events.PodScheduled, webPod, 3, 3, events.Scheduled{UID: "p", Node: "n1"}},
		5:  {events.ContainerExited, webPod, 0, 4, events.Exited{UID: "p", Container: "web", ExitCode: 137, Reason: "OOMKilled"}},
		6:  {events.DeploymentScaled, web, 1, 0, events.State{UID: "d", Object: replicas(0), Changed: []string{"spec.replicas"}, Previous: 1}},
		7:  {events.ReplicaSetStepped, webSet, 2, 6, events.State{UID: "s", Object: replicas(0), Changed: []string{"spec.replicas"}, Previous: 2}},
		8:  {events.PodRetired, webPod, 4, 7, events.State{UID: "p", Object: replicas(0), Previous: 3}},
		9:  {events.PodStopped, webPod, 5, 8, events.Stopped{UID: "p"}},
		10: {events.TypeOf("pod", events.FactFinalized), webPod, 8, 9, events.State{UID: "p", Previous: 8}},
		11: {events.TypeOf("secret", events.FactCreated), secret, 0, 0, events.State{UID: "x", Object: json.RawMessage(`{"data":{"a":"sealed:v1:abc"}}`)}},
	}[1:] {
		add(t, l, p.t, p.k, p.after, p.cause, p.data)
	}
	return l
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func id(seq uint64) string { return fmt.Sprintf("id-%d", seq) }

func add(t *testing.T, l *memlog.Log, typ events.Type, k events.Key, after, cause uint64, data any) {
	t.Helper()
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	spec, _ := events.Lookup(typ)
	e := events.Event{ID: id(head + 1), Type: typ, Time: noon, Change: "change", Data: raw, Subject: events.Subject{Key: k, Half: spec.Half}}
	switch spec.Owner {
	case events.OwnerDoor:
		e.Source, e.Actor = events.DoorSource, "user:alice"
	case events.OwnerNode:
		e.Source, e.Actor, e.Subject.Node = events.NodeSource("n1"), "node:n1", "n1"
	default:
		name := strings.TrimPrefix(spec.Owner, "reconcilers/")
		e.Source, e.Actor = events.ReconcilerSource(name), events.Actor("reconciler:"+name)
	}
	if cause != 0 {
		e.Cause, e.CauseAt = id(cause), cause
	}
	if _, err := l.Append(t.Context(), events.Proposal{Event: e, After: after}); err != nil {
		t.Fatal(err)
	}
}

// mount serves the handlers as one handler.
func mount(cfg serve.Config) http.Handler {
	mux := http.NewServeMux()
	for path, h := range serve.Handlers(cfg) {
		mux.Handle(path, h)
	}
	return mux
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// seqs are the sequences in an answer with a document a line, or in an array.
func seqs(t *testing.T, body string) []uint64 {
	t.Helper()
	var all []history.Entry
	if strings.HasPrefix(body, "[") {
		if err := json.Unmarshal([]byte(body), &all); err != nil {
			t.Fatal(err)
		}
	} else {
		for line := range strings.Lines(body) {
			var e history.Entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all = append(all, e)
		}
	}
	out := []uint64{}
	for _, e := range all {
		out = append(out, e.Seq)
	}
	return out
}

func TestAnswers(t *testing.T) {
	h := mount(serve.Config{Log: story(t), Version: "v9"})
	pod, deployment := "object=core/pods/default/web-7f-a", "object=apps/deployments/default/web"
	for _, c := range []struct {
		target   string
		want     []uint64
		from, to string
	}{
		{"history?" + deployment, []uint64{1, 6}, "1", "11"},
		{"history?" + pod, []uint64{3, 4, 5, 8, 9, 10}, "1", "11"},
		{"history?" + pod + "&limit=2", []uint64{9, 10}, "1", "11"},
		{"history?" + pod + "&limit=0", []uint64{3, 4, 5, 8, 9, 10}, "1", "11"},
		{"history?" + pod + "&limit=100&format=told", []uint64{3, 4, 5, 8, 9, 10}, "1", "11"},
		{"why?seq=5", []uint64{5, 4, 3, 2, 1}, "1", "5"},
		{"why?seq=7", []uint64{7, 6}, "6", "7"},
		{"why?" + pod, []uint64{10, 9, 8, 7, 6}, "1", "11"},
		{"why?" + deployment, []uint64{1}, "1", "11"},
		{"why?" + deployment + "&last=true", []uint64{6}, "1", "11"},
		{"why?" + pod + "&last=false&format=told", []uint64{10, 9, 8, 7, 6}, "1", "11"},
		{"tail?from=9", []uint64{9, 10, 11}, "", ""},
		{"tail?from=0&follow=false", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "", ""},
		{"tail?last=2", []uint64{10, 11}, "", ""},
		{"tail?last=200&format=told", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "", ""},
		{"tail", []uint64{}, "", ""},
		{"tail?from=12", []uint64{}, "", ""},
		{"tail?from=999", []uint64{}, "", ""},
	} {
		t.Run(c.target, func(t *testing.T) {
			w := ask(h, http.MethodGet, "/periplus/v1/"+c.target)
			if w.Code != http.StatusOK {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if got := seqs(t, w.Body.String()); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if w.Header().Get(serve.HeaderFrom) != c.from || w.Header().Get(serve.HeaderTo) != c.to || w.Header().Get(serve.HeaderVersion) != "v9" {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	h := mount(serve.Config{Log: story(t)})
	for _, c := range []struct {
		method, target string
		code           int32
		reason         metav1.StatusReason
		message        string
	}{
		{"GET", "history", 400, metav1.StatusReasonBadRequest, `parameter object: key "": want GROUP/RESOURCE/NAMESPACE/NAME`},
		{"GET", "history?object=deployment/web", 400, metav1.StatusReasonBadRequest, `parameter object: key "deployment/web": want GROUP/RESOURCE/NAMESPACE/NAME`},
		{"GET", "history?object=a/b/c/d&object=a/b/c/e", 400, metav1.StatusReasonBadRequest, "parameter object stands more than once"},
		{"GET", "history?object=a/b/c/d&limit=-1", 400, metav1.StatusReasonBadRequest, `parameter limit="-1" is no whole number from 0 on`},
		{"GET", "history?object=a/b/c/d&limit=", 400, metav1.StatusReasonBadRequest, `parameter limit="" is no whole number from 0 on`},
		{"GET", "history?object=a/b/c/d&format=cloudevents", 400, metav1.StatusReasonBadRequest, `parameter format="cloudevents" is none of entries, told`},
		{"GET", "history?object=a/b/c/d&limt=1&zoo=2", 400, metav1.StatusReasonBadRequest, `unknown parameter "limt"`},
		{"GET", "history?object=apps/deployments/default/nope", 404, metav1.StatusReasonNotFound, `deployments.apps "nope" not found in namespace "default": the log holds no event of it`},
		{"GET", "history?object=core/nodes/_/n9", 404, metav1.StatusReasonNotFound, `nodes "n9" not found: the log holds no event of it`},
		{"GET", "why", 400, metav1.StatusReasonBadRequest, `parameter object: key "": want GROUP/RESOURCE/NAMESPACE/NAME`},
		{"GET", "why?seq=1&object=a/b/c/d", 400, metav1.StatusReasonBadRequest, "give either seq or object, and last only with object"},
		{"GET", "why?seq=1&last=true", 400, metav1.StatusReasonBadRequest, "give either seq or object, and last only with object"},
		{"GET", "why?seq=1.5", 400, metav1.StatusReasonBadRequest, `parameter seq="1.5" is no whole number from 0 on`},
		{"GET", "why?object=a/b/c/d&last=perhaps", 400, metav1.StatusReasonBadRequest, `parameter last="perhaps" is neither true nor false`},
		{"GET", "why?object=a/b/c/d", 404, metav1.StatusReasonNotFound, `b.a "d" not found in namespace "c": the log holds no event of it`},
		{"GET", "why?seq=12", 404, metav1.StatusReasonNotFound, "event 12 not found: the last event in the log is 11"},
		{"GET", "why?seq=0", 404, metav1.StatusReasonNotFound, "event 0 not found: the last event in the log is 11"},
		{"GET", "tail?from=1&last=1", 400, metav1.StatusReasonBadRequest, "give either from or last"},
		{"GET", "tail?from=99999999999999999999", 400, metav1.StatusReasonBadRequest, `parameter from="99999999999999999999" is no whole number from 0 on`},
		{"GET", "tail?format=xml", 400, metav1.StatusReasonBadRequest, `parameter format="xml" is none of entries, told, cloudevents`},
		{"GET", "version?verbose=1", 400, metav1.StatusReasonBadRequest, `unknown parameter "verbose"`},
		{"POST", "history?object=a/b/c/d", 405, metav1.StatusReasonMethodNotAllowed, "POST is not supported on /periplus/v1/history: use GET"},
		{"DELETE", "tail", 405, metav1.StatusReasonMethodNotAllowed, "DELETE is not supported on /periplus/v1/tail: use GET"},
	} {
		t.Run(c.method+" "+c.target, func(t *testing.T) {
			w := ask(h, c.method, "/periplus/v1/"+c.target)
			var s metav1.Status
			if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
				t.Fatal(err)
			}
			if w.Code != int(c.code) || s.Code != c.code || s.Reason != c.reason || s.Message != c.message ||
				s.Kind != "Status" || s.APIVersion != "v1" || s.Status != metav1.StatusFailure {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if (w.Code == http.StatusMethodNotAllowed) != (w.Header().Get("Allow") == http.MethodGet) {
				t.Errorf("headers %v", w.Header())
			}
		})
	}
}

func TestTold(t *testing.T) {
	h := mount(serve.Config{Log: story(t)})
	for target, want := range map[string][]string{
		"history?format=told&object=apps/deployments/default/web":       {"created with 1 replica", "scaled from 1 to 0"},
		"why?format=told&seq=7":                                         {"stepped from 1 to 0", "scaled from 1 to 0"},
		"tail?format=told&from=5&follow=false":                          {"container web exited with 137 (OOMKilled)", "scaled from 1 to 0", "stepped from 1 to 0"},
		"history?format=told&object=core/pods/default/web-7f-a&limit=1": {"gone: nothing held it any longer"},
	} {
		var got []string
		body := ask(h, http.MethodGet, "/periplus/v1/"+target).Body.Bytes()
		if body[0] != '[' {
			body = []byte("[" + strings.ReplaceAll(strings.TrimSpace(string(body)), "\n", ",") + "]")
		}
		var all []history.Told
		if err := json.Unmarshal(body, &all); err != nil {
			t.Fatal(err)
		}
		for _, e := range all[:len(want)] {
			got = append(got, e.Sentence)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", target, got, want)
		}
	}
}

func TestCloudEvents(t *testing.T) {
	l := story(t)
	body := ask(mount(serve.Config{Log: l}), http.MethodGet, "/periplus/v1/tail?from=1&format=cloudevents").Body.String()
	n := uint64(0)
	for line := range strings.Lines(body) {
		n++
		var e event.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		r, _, err := l.At(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Errorf("event %d: %v", n, err)
		}
		if e.ID() != r.ID || e.Subject() != r.Subject.Key.String() || e.Type() != string(r.Type) || !slices.Equal(e.Data(), r.Data) {
			t.Errorf("event %d: got %s", n, line)
		}
	}
	if n != 11 {
		t.Errorf("%d events", n)
	}
}

func TestVersion(t *testing.T) {
	w := ask(mount(serve.Config{Log: story(t)}), http.MethodGet, serve.VersionPath)
	var v serve.Version
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version != "unknown" || v.Head != 11 || v.GoVersion == "" || v.Platform == "" {
		t.Errorf("got %+v", v)
	}
}

// follow opens a stream over a real connection and reads it line by line.
func follow(t *testing.T, cfg serve.Config, query string) (next func() (string, error), hangUp func()) {
	t.Helper()
	server := httptest.NewServer(mount(cfg))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+serve.TailPath+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	in := bufio.NewReader(res.Body)
	return func() (string, error) { return in.ReadString('\n') }, cancel
}

func TestTailFollows(t *testing.T) {
	l := story(t)
	next, hangUp := follow(t, serve.Config{Log: l}, "follow=true&last=1")
	for i := range uint64(3) {
		line, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if got := seqs(t, line); !slices.Equal(got, []uint64{11 + i}) {
			t.Fatalf("got %v", got)
		}
		// What is appended now has to arrive although nothing follows it.
		add(t, l, events.TypeOf("secret", events.FactDataChanged), secret, 11+i, 0, events.State{UID: "x", Object: json.RawMessage(`{}`), Previous: 11 + i})
	}
	hangUp()
	for {
		if _, err := next(); err != nil {
			if errors.Is(err, io.EOF) {
				t.Error("the stream ended by itself")
			}
			return
		}
	}
}

func TestTailEndsWithTheServer(t *testing.T) {
	done := make(chan struct{})
	next, _ := follow(t, serve.Config{Log: story(t), Done: done}, "follow=true&last=1")
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	close(done)
	line, err := next()
	if err != nil {
		t.Fatal(err)
	}
	var s metav1.Status
	if err := json.Unmarshal([]byte(line), &s); err != nil || s.Kind != "Status" || s.Reason != metav1.StatusReasonServiceUnavailable {
		t.Errorf("got %s %v", line, err)
	}
	if line, err := next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %q %v", line, err)
	}
}

// faulty is a log in which some events are not valid, or reading fails.
type faulty struct {
	serve.Log

	invalid []uint64
	err     error
}

func (f faulty) At(ctx context.Context, seq uint64) (events.Recorded, bool, error) {
	if slices.Contains(f.invalid, seq) {
		return events.Recorded{}, false, nil
	}
	return f.Log.At(ctx, seq)
}

func (f faulty) Read(ctx context.Context, from uint64, fn func(events.Recorded, uint64) error) error {
	return f.Log.Read(ctx, from, func(r events.Recorded, head uint64) error {
		switch {
		case slices.Contains(f.invalid, r.Seq):
			return nil
		case f.err != nil && r.Seq == 10:
			return f.err
		}
		return fn(r, head)
	})
}

func (f faulty) Of(ctx context.Context, k events.Key, fn func(events.Recorded) error) error {
	if f.err != nil {
		return f.err
	}
	return f.Log.Of(ctx, k, fn)
}

func TestTailEndsBeforeWhatIsNotValid(t *testing.T) {
	for _, c := range []struct {
		invalid []uint64
		from    string
		want    []uint64
	}{
		{[]uint64{10, 11}, "8", []uint64{8, 9}},
		{[]uint64{9, 11}, "8", []uint64{8, 10}},
		{[]uint64{10, 11}, "10", []uint64{}},
	} {
		w := ask(mount(serve.Config{Log: faulty{Log: story(t), invalid: c.invalid}}), http.MethodGet, serve.TailPath+"?from="+c.from)
		if got := seqs(t, w.Body.String()); !slices.Equal(got, c.want) {
			t.Errorf("from %s without %v: got %v, want %v", c.from, c.invalid, got, c.want)
		}
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		log    faulty
		target string
		code   int
		words  string
	}{
		{faulty{err: errors.New("disk on fire")}, "history?object=a/b/c/d", 500, "disk on fire"},
		{faulty{err: events.ErrTemporary}, "history?object=a/b/c/d", 503, "temporarily unavailable"},
		{faulty{err: context.DeadlineExceeded}, "why?object=a/b/c/d", 503, "deadline exceeded"},
		{faulty{invalid: []uint64{4}}, "why?seq=5", 500, "event 4, the cause of event 5, is not in the log"},
	} {
		c.log.Log = story(t)
		w := ask(mount(serve.Config{Log: c.log}), http.MethodGet, "/periplus/v1/"+c.target)
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.words) {
			t.Errorf("%s: got %d %s", c.target, w.Code, w.Body)
		}
	}
}

func TestTailTellsWhyItBreaksOff(t *testing.T) {
	w := ask(mount(serve.Config{Log: faulty{Log: story(t), err: events.ErrGap}}), http.MethodGet, serve.TailPath+"?from=9&follow=true")
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	if len(lines) != 2 || !strings.Contains(lines[1], `"kind":"Status"`) || !strings.Contains(lines[1], "gap in the log") {
		t.Errorf("got %s", w.Body)
	}
}
