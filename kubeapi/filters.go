package kubeapi

import (
	"context"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/filters"

	"periplus.dev/kubeapi/logstore"
)

// ReasonHeader carries why a person asks for a change, in a person's words; the
// event keeps the first kilobyte of it.
const ReasonHeader = "Periplus-Reason"

const (
	traceHeader = "Traceparent"
	maxReason   = 1024
	traceLength = 55 // of a W3C traceparent of version 00
)

// withNotes passes on what a request says besides its object.
func withNotes(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := logstore.Notes{Reason: clean(r.Header.Get(ReasonHeader)), Trace: trace(r.Header.Get(traceHeader))}
		if n != (logstore.Notes{}) {
			r = r.WithContext(logstore.WithNotes(r.Context(), n))
		}
		h.ServeHTTP(w, r)
	})
}

// clean makes one line of at most maxReason bytes of what a client sent.
func clean(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s))
	for len(s) > maxReason {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// trace keeps a well-formed W3C traceparent and drops anything else.
func trace(s string) string {
	if len(s) != traceLength {
		return ""
	}
	for i, c := range []byte(s) {
		dash := i == 2 || i == 35 || i == 52
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
		if dash != (c == '-') || !dash && !hex {
			return ""
		}
	}
	return s
}

// longRunning tells the requests that may last: watches, logs, exec, and what
// follows something below HandlerPrefix.
func longRunning() request.LongRunningRequestCheck {
	basic := filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	return func(r *http.Request, info *request.RequestInfo) bool {
		if !info.IsResourceRequest && strings.HasPrefix(info.Path, HandlerPrefix) {
			return r.URL.Query().Get("follow") == "true"
		}
		return basic(r, info)
	}
}

// endWith ends the requests that last when stopping does, so that a server that
// stops does not wait for clients that never leave.
func endWith(stopping context.Context, h http.Handler, lasts request.LongRunningRequestCheck) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok && lasts(r, info) {
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			unhook := context.AfterFunc(stopping, cancel)
			defer unhook()
			r = r.WithContext(ctx)
		}
		h.ServeHTTP(w, r)
	})
}

// customKinds is where kubectl looks whether a kind it does not know is a custom one.
const customKinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// noCustomKinds answers that there are none, so that kubectl says of an unknown
// kind that it does not exist rather than that it could not find out.
func noCustomKinds(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "custom kinds cannot be defined", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinitionList","metadata":{"resourceVersion":"1"},"items":[]}`)
}
