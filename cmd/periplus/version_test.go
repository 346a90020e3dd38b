package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVersionOfBoth(t *testing.T) {
	s := startCluster(t)
	got, err := call(t, "version", "--kubeconfig", s.kubeconfig)
	if err != nil || !strings.HasPrefix(got, "client  unknown (go") || !strings.Contains(got, "\nserver  v9 (go") || !strings.HasSuffix(got, ", 9 events in its log\n") {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = call(t, "version", "-o", "json", "--kubeconfig", s.kubeconfig)
	var v versions
	if err != nil || json.Unmarshal([]byte(got), &v) != nil || v.Client.GoVersion == "" || v.Server == nil || v.Server.Version != "v9" || v.Server.Head != 9 {
		t.Errorf("got %q, %v", got, err)
	}
	got, err = call(t, "version", "-o", "yaml", "--client", "--kubeconfig", s.kubeconfig)
	if err != nil || !strings.HasPrefix(got, "client:\n") || strings.Contains(got, "server:") {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestVersionWithoutAServer(t *testing.T) {
	nowhere(t)
	s := startCluster(t)
	s.Close()
	t.Setenv("KUBECONFIG", s.kubeconfig)
	got, err := call(t, "version")
	if err != nil || !strings.Contains(got, "\nserver  none: "+s.URL+" refuses the connection") {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := call(t, "version", "--kubeconfig", s.kubeconfig); err == nil {
		t.Error("a server that was named does not answer, and that is no error")
	}
	got, err = call(t, "version", "--client")
	if err != nil || strings.Contains(got, "server") {
		t.Errorf("got %q, %v", got, err)
	}
}
