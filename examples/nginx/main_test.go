package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	for path, want := range map[string]int{"/": http.StatusOK, "/index.html": http.StatusOK, "/other": http.StatusNotFound} {
		got := httptest.NewRecorder()
		answer(got, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if got.Code != want {
			t.Errorf("%s: status %d, want %d", path, got.Code, want)
		}
		if welcome := strings.Contains(got.Body.String(), "Welcome to nginx!"); welcome != (want == http.StatusOK) {
			t.Errorf("%s: %s", path, got.Body)
		}
	}
}
