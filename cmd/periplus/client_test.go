package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	historyapi "periplus.dev/history/serve"
)

// fakeCluster is a server with a short past: discovery, and history over a log.
type fakeCluster struct {
	*httptest.Server

	log        *memlog.Log
	done       chan struct{} // ends streams when it is closed
	kubeconfig string
}

func startCluster(t *testing.T) *fakeCluster {
	t.Helper()
	c := &fakeCluster{log: story(t), done: make(chan struct{})}
	mux := http.NewServeMux()
	for path, h := range historyapi.Handlers(historyapi.Config{Log: c.log, Version: "v9", Done: c.done}) {
		mux.Handle(path, h)
	}
	discover(mux)
	c.Server = httptest.NewTLSServer(mux)
	t.Cleanup(c.Close)
	c.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, c.kubeconfig, c.Server, "default")
	return c
}

// discover answers as an API server that has a few resources.
func discover(mux *http.ServeMux) {
	answer := func(path string, v any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	apps := metav1.GroupVersionForDiscovery{GroupVersion: "apps/v1", Version: "v1"}
	answer("/api", metav1.APIVersions{Versions: []string{"v1"}})
	answer("/apis", metav1.APIGroupList{Groups: []metav1.APIGroup{
		{Name: "apps", Versions: []metav1.GroupVersionForDiscovery{apps}, PreferredVersion: apps}}})
	answer("/api/v1", metav1.APIResourceList{GroupVersion: "v1", APIResources: []metav1.APIResource{
		{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "Pod", ShortNames: []string{"po"}},
		{Name: "pods/log", Namespaced: true, Kind: "Pod"},
		{Name: "nodes", SingularName: "node", Kind: "Node", ShortNames: []string{"no"}},
	}})
	answer("/apis/apps/v1", metav1.APIResourceList{GroupVersion: "apps/v1", APIResources: []metav1.APIResource{
		{Name: "deployments", SingularName: "deployment", Namespaced: true, Kind: "Deployment", ShortNames: []string{"deploy"}},
		{Name: "replicasets", SingularName: "replicaset", Namespaced: true, Kind: "ReplicaSet", ShortNames: []string{"rs"}},
	}})
}

func writeKubeconfig(t *testing.T, file string, s *httptest.Server, namespace string) {
	t.Helper()
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: s.URL}
	if s.TLS != nil {
		cfg.Clusters["c"].CertificateAuthorityData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	}
	cfg.Contexts["c"] = &clientcmdapi.Context{Cluster: "c", Namespace: namespace}
	cfg.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*cfg, file); err != nil {
		t.Fatal(err)
	}
}

// story is a log in which a rolling update made a pod that then ran out of memory.
func story(t *testing.T) *memlog.Log {
	t.Helper()
	l := memlog.New(memlog.Config{})
	set := `{"metadata":{"annotations":{"deployment.kubernetes.io/revision":"2"},"ownerReferences":[{"kind":"Deployment","name":"web","controller":true}]},` +
		`"spec":{"replicas":%d,"template":{"spec":{"containers":[{"name":"web","image":"web:v2"}]}}}}`
	deployment := `{"spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"web","image":"web:%s"}]}}}}`
	pod := json.RawMessage(`{"metadata":{"annotations":{"periplus.dev/slot":"0"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-7f","controller":true}]},` +
		`"spec":{"containers":[{"name":"web","image":"web:v2"}]}}`)
	object := func(format string, args ...any) json.RawMessage { return json.RawMessage(fmt.Sprintf(format, args...)) }
	add(t, l, events.ClusterInitialized, events.Key{Group: "periplus.dev", Resource: "clusters", Name: "main"}, 0, 0, events.State{UID: "c"})
	add(t, l, events.NodeRegistered, nodeKey, 0, 1, events.Registered{UID: "n", Capacity: map[string]string{"cpu": "2"}})
	add(t, l, events.TypeOf("deployment", events.FactCreated), webKey, 0, 0, events.State{UID: "d", Object: object(deployment, "v1")})
	add(t, l, events.DeploymentTemplateChanged, webKey, 3, 0, events.State{UID: "d", Object: object(deployment, "v2"), Previous: 3,
		Changed: []string{"spec.template.spec.containers[0].image"}})
	add(t, l, events.ReplicaSetRolledOut, setKey, 0, 4, events.State{UID: "s", Object: object(set, 0)})
	add(t, l, events.ReplicaSetStepped, setKey, 5, 5, events.State{UID: "s", Object: object(set, 1), Previous: 5, Changed: []string{"spec.replicas"}})
	add(t, l, events.PodRequested, podKey, 0, 6, events.State{UID: "p", Object: pod})
	add(t, l, events.PodScheduled, podKey, 7, 7, events.Scheduled{UID: "p", Node: "n1", Candidates: []events.Candidate{{Node: "n1", Fits: true}}})
	add(t, l, events.ContainerExited, podKey, 0, 8, events.Exited{UID: "p", Container: "web", ExitCode: 137, Reason: "OOMKilled"})
	return l
}

var (
	nodeKey = events.Key{Resource: "nodes", Name: "n1"}
	webKey  = events.Key{Group: "apps", Resource: "deployments", Namespace: "default", Name: "web"}
	setKey  = events.Key{Group: "apps", Resource: "replicasets", Namespace: "default", Name: "web-7f"}
	podKey  = events.Key{Resource: "pods", Namespace: "default", Name: "web-7f-a"}
)

// add appends an event whose id and time follow from its sequence.
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
	at := time.Date(2026, 11, 21, 12, 0, int(head), 5000, time.UTC)
	e := events.Event{ID: fmt.Sprintf("id-%d", head+1), Type: typ, Time: at, Change: "id-1", Data: raw, Subject: events.Subject{Key: k, Half: spec.Half}}
	switch spec.Owner {
	case events.OwnerDoor:
		e.Source, e.Actor = events.DoorSource, "user:alice"
	case events.OwnerNode:
		e.Source, e.Actor, e.Subject.Node = events.NodeSource("n1"), "node:n1", "n1"
	default:
		name := strings.TrimPrefix(spec.Owner, "reconcilers/")
		e.Source, e.Actor = events.ReconcilerSource(name), events.Actor("reconciler:"+name)
	}
	if typ == events.DeploymentTemplateChanged {
		e.Reason = "new look"
	}
	if cause != 0 {
		e.Cause, e.CauseAt = fmt.Sprintf("id-%d", cause), cause
	}
	if _, err := l.Append(t.Context(), events.Proposal{Event: e, After: after}); err != nil {
		t.Fatal(err)
	}
}

// call runs the command line and returns what it prints. The environment is that
// of somebody who has no cluster.
func call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func nowhere(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv(clientcmd.RecommendedConfigPathEnvVar, "")
	return dir
}

func TestTargetPath(t *testing.T) {
	home := nowhere(t)
	dir, file, env := filepath.Join(home, "data"), filepath.Join(home, "own"), filepath.Join(home, "env")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{filepath.Join(dir, "kubeconfig"), file, env} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		t    target
		env  string
		want string
		err  string
	}{
		{"flag first", target{dataDir: dir, kubeconfig: file}, env, file, ""},
		{"then the directory", target{dataDir: dir}, env, filepath.Join(dir, "kubeconfig"), ""},
		{"then the environment, read by client-go", target{}, env, "", ""},
		{"no such file", target{kubeconfig: file + "x"}, env, "", "read kubeconfig: there is no file " + file + "x"},
		{"a directory without a cluster", target{dataDir: home}, env, "", "there is no cluster in " + home +
			" (no file kubeconfig): start one with: periplus up --data-dir " + home},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(clientcmd.RecommendedConfigPathEnvVar, c.env)
			got, err := c.t.path()
			if got != c.want || fmt.Sprint(err) != c.err && (err != nil || c.err != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestDefaultDataDir(t *testing.T) {
	home := nowhere(t)
	want := map[bool]string{true: "/var/lib/periplus", false: filepath.Join(home, "state", "periplus")}[os.Geteuid() == 0]
	if got := defaultDataDir(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseObject(t *testing.T) {
	for _, c := range []struct {
		args  string
		want  named
		wrong bool
	}{
		{args: "deployment/web", want: named{kind: "deployment", name: "web"}},
		{args: "deploy web", want: named{kind: "deploy", name: "web"}},
		{args: "replicasets.v1.apps/web-7f", want: named{kind: "replicasets.v1.apps", name: "web-7f"}},
		{args: "apps/deployments/default/web", want: named{key: webKey}},
		{args: "core/nodes/_/n1", want: named{key: nodeKey}},
		{args: "deployment", wrong: true},
		{args: "deployment/", wrong: true},
		{args: "/web", wrong: true},
		{args: "a/b/c", wrong: true},
		{args: "a//c/d", wrong: true},
		{args: "pod/a pod/b", wrong: true},
		{args: "pod a/b", wrong: true},
	} {
		got, err := parseObject(strings.Fields(c.args))
		if got != c.want || (err != nil) != c.wrong {
			t.Errorf("%s: got %+v, %v", c.args, got, err)
		}
	}
}

func TestObject(t *testing.T) {
	s := startCluster(t)
	writeKubeconfig(t, s.kubeconfig, s.Server, "shop")
	c, err := (&target{kubeconfig: s.kubeconfig}).connect()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ args, namespace, want, err string }{
		{"deployment/web", "", "apps/deployments/shop/web", ""},
		{"deployments/web", "a", "apps/deployments/a/web", ""},
		{"deploy/web", "", "apps/deployments/shop/web", ""},
		{"deploy web", "", "apps/deployments/shop/web", ""},
		{"Deployment/web", "", "apps/deployments/shop/web", ""},
		{"deployments.apps/web", "", "apps/deployments/shop/web", ""},
		{"deployment.v1.apps/web", "", "apps/deployments/shop/web", ""},
		{"po/x", "", "core/pods/shop/x", ""},
		{"node/n1", "a", "core/nodes/_/n1", ""},
		{"core/pods/b/x", "a", "core/pods/b/x", ""},
		{"gadget/x", "", "", `the server has no resource type "gadget"`},
		{"deployments.batch/x", "", "", `the server has no resource type "deployments.batch"`},
	} {
		key, err := c.object(strings.Fields(o.args), o.namespace)
		switch {
		case err != nil && err.Error() != o.err:
			t.Errorf("%s: %v", o.args, err)
		case err == nil && key.String() != o.want:
			t.Errorf("%s: got %s", o.args, key)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	home := nowhere(t)
	s := startCluster(t)
	s.Close()
	for _, args := range [][]string{{"history", "pod/x"}, {"why", "7"}, {"tail"}, {"version"}} {
		_, err := call(t, append(args, "--kubeconfig", s.kubeconfig)...)
		want := s.URL + " refuses the connection: if the cluster is down, start it with: periplus up"
		if fmt.Sprint(err) != want {
			t.Errorf("%s: got %v, want %s", args, err, want)
		}
	}
	if os.Geteuid() != 0 {
		if _, err := call(t, "tail"); !strings.HasPrefix(fmt.Sprint(err), "there is no cluster to ask") {
			t.Errorf("without any kubeconfig in %s: %v", home, err)
		}
	}
}

func TestOtherServers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"some web server", http.NotFound, " is not a Periplus server: it has no history"},
		{"a web server that likes everything", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hi") }, " is not a Periplus server: it has no history"},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","message":"user \"bob\" may not"}`)
		}, `: user "bob" may not`},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, " answered 502 Bad Gateway"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(c.answer)
			defer s.Close()
			file := filepath.Join(t.TempDir(), "kubeconfig")
			writeKubeconfig(t, file, s, "")
			_, err := call(t, "why", "7", "--kubeconfig", file)
			if fmt.Sprint(err) != s.URL+c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}
