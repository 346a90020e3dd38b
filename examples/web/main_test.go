package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	server := handler(facts{Greeting: "Hello & welcome", Host: "web-1", Pod: "web-abc"})
	for _, c := range []struct {
		method, path string
		code         int
		says         []string
	}{
		{"GET", "/", 200, []string{"Hello &amp; welcome", "Host name: web-1", "Pod: web-abc", "Path: /"}},
		{"GET", "/a/path", 200, []string{"Path: /a/path"}},
		{"GET", "/healthz", 200, []string{"ok"}},
		{"POST", "/", 405, nil},
	} {
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, httptest.NewRequest(c.method, c.path, http.NoBody))
		if answer.Code != c.code {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, answer.Code, c.code)
		}
		for _, want := range c.says {
			if !strings.Contains(answer.Body.String(), want) {
				t.Errorf("%s %s: %q does not say %q", c.method, c.path, answer.Body, want)
			}
		}
	}
}

func TestHandlerWithoutPodName(t *testing.T) {
	answer := httptest.NewRecorder()
	handler(facts{Host: "web-1"}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", http.NoBody))
	if strings.Contains(answer.Body.String(), "Pod:") {
		t.Errorf("the page names a pod nobody told it: %s", answer.Body)
	}
}
