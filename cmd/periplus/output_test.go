package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"periplus.dev/events"
	"periplus.dev/history"
)

var update = flag.Bool("update", false, "write golden files anew; read them before you commit them")

// golden compares with testdata/NAME.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

func TestOutputs(t *testing.T) {
	s := startCluster(t)
	for _, c := range []struct{ file, args string }{
		{"history.txt", "history deployment/web"},
		{"history-wide.txt", "history deploy web -o wide"},
		{"history.jsonl", "history deployment/web -n default -o json"},
		{"history.yaml", "history rs/web-7f -o yaml"},
		{"history-limit.txt", "history pod/web-7f-a --limit 1"},
		{"why.txt", "why pod/web-7f-a"},
		{"why-last.txt", "why pod web-7f-a --last"},
		{"why-node.txt", "why node/n1"},
		{"why.json", "why 6 -o json"},
		{"why.yaml", "why 5 -o yaml"},
		{"tail.txt", "tail --no-follow"},
		{"tail.jsonl", "tail --follow=false --from 8 -o json"},
		{"tail.yaml", "tail --no-follow --last 1 -o yaml"},
		{"tail-cloudevents.jsonl", "tail --no-follow --last 2 -o cloudevents"},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, err := call(t, append(strings.Fields(c.args), "--kubeconfig", s.kubeconfig)...)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, c.file, got)
		})
	}
}

func TestWrongUsage(t *testing.T) {
	nowhere(t)
	for args, want := range map[string]string{
		"history":                      "periplus history wants one object, such as deployment/web; see periplus history --help",
		"history a b c":                "periplus history wants one object, such as deployment/web; see periplus history --help",
		"history web":                  `"web" is no object: want TYPE/NAME or TYPE NAME, such as deployment/web`,
		"history pod/a pod/b":          `"pod/a" and "pod/b": name one object`,
		"history pod/a -o xml":         "-o xml: want one of table, wide, json, yaml",
		"history pod/a -o cloudevents": "-o cloudevents: want one of table, wide, json, yaml",
		"history pod/a --limit -1":     `invalid argument "-1" for "--limit" flag: strconv.ParseUint: parsing "-1": invalid syntax`,
		"history core/pods/x/":         `key "core/pods/x/": invalid key: name is empty`,
		"why":                          "periplus why wants one object, such as deployment/web; see periplus why --help",
		"why 7 --last":                 "--last needs an object; 7 is an event",
		"why -1":                       `unknown shorthand flag: '1' in -1`,
		"why 7 -o wide":                "-o wide: want one of table, json, yaml",
		"tail pod/a":                   `unknown command or argument "pod/a" for "periplus tail", see periplus tail --help`,
		"tail --from 1 --last 2":       "give either --from or --last",
		"tail -f --no-follow":          "give either --follow or --no-follow",
		"tail -o wide":                 "-o wide: want one of table, json, yaml, cloudevents",
		"tail --nope":                  "unknown flag: --nope",
		"version 1":                    `unknown command or argument "1" for "periplus version", see periplus version --help`,
		"version -o wide":              "-o wide: want one of table, json, yaml",
	} {
		_, err := call(t, strings.Fields(args)...)
		var usage usageError
		if !errors.As(err, &usage) || !strings.HasPrefix(fmt.Sprint(err), want) {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"history", "why", "tail", "version"} {
		got, err := call(t, name, "--help")
		if err != nil || !strings.Contains(got, "Examples:\n  periplus "+name) || !strings.Contains(got, "--data-dir DIR") || !strings.Contains(got, "--kubeconfig FILE") {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

func TestRefusalsOfTheServer(t *testing.T) {
	s := startCluster(t)
	for args, want := range map[string]string{
		"history pod/nope": `pods "nope" not found in namespace "default": the log holds no event of it`,
		"why node/nope":    `nodes "nope" not found: the log holds no event of it`,
		"why 12":           "event 12 not found: the last event in the log is 9",
		"why gadget/x":     `the server has no resource type "gadget"`,
	} {
		out, err := call(t, append(strings.Fields(args), "--kubeconfig", s.kubeconfig)...)
		var usage usageError
		if fmt.Sprint(err) != want || errors.As(err, &usage) || out != "" {
			t.Errorf("%s: got %q, %v", args, out, err)
		}
	}
}

func TestPaint(t *testing.T) {
	told := func(typ events.Type, failed bool) history.Told {
		return history.Told{Entry: history.Entry{Type: string(typ)}, Failed: failed}
	}
	for _, c := range []struct {
		e    history.Told
		want string
	}{
		{told(events.DeploymentScaled, false), "\x1b[36mdeployment.scaled\x1b[0m"},
		{told(events.PodRequested, false), "\x1b[34mpod.requested\x1b[0m"},
		{told(events.PodScheduled, false), "\x1b[33mpod.scheduled\x1b[0m"},
		{told(events.ContainerStarted, false), "\x1b[32mcontainer.started\x1b[0m"},
		{told(events.ContainerExited, true), "\x1b[31mcontainer.exited\x1b[0m"},
		{told("strange\x1b[2J", false), "\x1b[34mstrange [2J\x1b[0m"},
	} {
		if got := paint(true).event(c.e); got != c.want {
			t.Errorf("%s: got %q", c.e.Type, got)
		}
		if got := paint(false).event(c.e); strings.Contains(got, "\x1b") {
			t.Errorf("%s without colour: got %q", c.e.Type, got)
		}
	}
	e := history.Told{Entry: history.Entry{Reason: "a\nb"}, Sentence: "it\x1b broke", Failed: true}
	if got := paint(true).what(e); got != "\x1b[31mit broke\x1b[0m \x1b[90m\"a b\"\x1b[0m" {
		t.Errorf("got %q", got)
	}
	if paintFor(&bytes.Buffer{}) {
		t.Error("a pipe is painted")
	}
	if file, err := os.Create(filepath.Join(t.TempDir(), "x")); err != nil || bool(paintFor(file)) {
		t.Errorf("a file is painted, %v", err)
	}
}

func TestObjectOf(t *testing.T) {
	for key, want := range map[string][2]string{
		"apps/deployments/default/web":                 {"default", "deployment/web"},
		"core/nodes/_/n1":                              {"-", "node/n1"},
		"coordination.k8s.io/leases/kube-node-lease/n": {"kube-node-lease", "lease/n"},
		"example.org/widgets/a/w":                      {"a", "widgets.example.org/w"},
		"odd":                                          {"-", "odd"},
	} {
		e := history.Entry{Object: key}
		if got := [2]string{spaceOf(e), objectOf(e)}; got != want {
			t.Errorf("%s: got %q", key, got)
		}
	}
}
