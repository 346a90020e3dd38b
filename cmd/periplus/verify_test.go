package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"periplus.dev/controlplane"
	historyapi "periplus.dev/history/serve"
	"periplus.dev/internal/cluster"
	"periplus.dev/projections"
)

// answering is a server that says the same of its World to everybody.
func answering(t *testing.T, report controlplane.Report, snapshot uint64) (kubeconfig string) {
	t.Helper()
	answer := func(method string, v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(historyapi.HeaderVersion, "v9")
			if r.Method != method || r.URL.RawQuery != "follow=true" {
				http.Error(w, "wrong request", http.StatusBadRequest)
				return
			}
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux := http.NewServeMux()
	mux.Handle(cluster.VerifyPath, answer(http.MethodGet, report))
	mux.Handle(cluster.RebuildPath, answer(http.MethodPost, cluster.RebuildAnswer{Report: report, Snapshot: snapshot}))
	s := httptest.NewTLSServer(mux)
	t.Cleanup(s.Close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, kubeconfig, s, "")
	return kubeconfig
}

func TestVerifyAndRebuild(t *testing.T) {
	sum := func(c string) string { return strings.Repeat(c, 64) }
	fine := controlplane.Report{OK: true, From: 1, To: 42, Hash: sum("a"), Tables: map[string]string{"pods": sum("b"), "deployments.apps": sum("c")}}
	differs := func(d projections.Difference) controlplane.Report {
		r := fine
		r.OK, r.Refolded, r.FirstDifference = false, sum("d"), &d
		return r
	}
	short := fine
	short.OK, short.Problem = false, "the log ends at event 40, the World is at 42"
	pod := "core/pods/shop/web"
	field := differs(projections.Difference{How: projections.DiffersContents, Object: pod, Seq: 40, Fields: []string{"status.phase", "status.podIP"}})
	const lead = "the World is not what the log folds to"
	tests := []struct {
		golden   string // name of the output, if it is compared
		command  string
		report   controlplane.Report
		snapshot uint64
		err      string
	}{
		{"verify.txt", "verify", fine, 0, ""},
		{"verify.json", "verify -o json", fine, 0, ""},
		{"verify-differs.txt", "verify", field, 0, lead + ": core/pods/shop/web, as of event 40, differs in status.phase, status.podIP"},
		{"verify-differs.yaml", "verify -o yaml", field, 0, lead + ": core/pods/shop/web, as of event 40, differs in status.phase, status.podIP"},
		{"", "verify", differs(projections.Difference{How: projections.DiffersMissing, Object: pod, Seq: 40}), 0, lead + ": it lacks core/pods/shop/web, as of event 40"},
		{"", "verify", differs(projections.Difference{How: projections.DiffersExtra, Object: pod, Seq: 40}), 0, lead + ": it has core/pods/shop/web, as of event 40, which is not there"},
		{"", "verify", differs(projections.Difference{How: projections.DiffersBeside, Seq: 42}), 0, lead + ": its objects are the same, what is kept beside them is not"},
		{"", "verify", short, 0, "the log cannot be folded to where the World is: the log ends at event 40, the World is at 42"},
		{"rebuild.txt", "rebuild", fine, 42, ""},
		{"rebuild.json", "rebuild -o json", fine, 42, ""},
		{"rebuild-differs.txt", "rebuild", field, 42, lead + ": core/pods/shop/web, as of event 40, differs in status.phase, status.podIP. Start the cluster again: it will begin with the new snapshot"},
		{"", "rebuild", short, 0, "the log cannot be folded to where the World is: the log ends at event 40, the World is at 42. Nothing was changed"},
		{"", "rebuild", fine, 0, "the server keeps no snapshots: there is nothing to rebuild"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.command, " ", test.golden, test.err), func(t *testing.T) {
			got, err := call(t, append(strings.Fields(test.command), "--kubeconfig", answering(t, test.report, test.snapshot))...)
			if test.err == "" && err != nil || test.err != "" && fmt.Sprint(err) != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if test.golden != "" {
				golden(t, test.golden, got)
			}
		})
	}
}

func TestVerifyCalledWrongly(t *testing.T) {
	for _, args := range []string{"verify now", "verify -o wide", "rebuild now", "rebuild -o wide"} {
		_, err := call(t, strings.Fields(args)...)
		if _, ok := err.(usageError); !ok { //nolint:errorlint // it is not wrapped
			t.Errorf("%s: %v", args, err)
		}
	}
}
