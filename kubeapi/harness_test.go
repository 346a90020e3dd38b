package kubeapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
	"periplus.dev/sealing"
)

// cluster is a running server on the log in memory, with nothing behind it: no
// reconciler and no node.
type cluster struct {
	*Server
	log        *memlog.Log
	world      *projections.Projection
	nodes      *fakeNodes
	dir        string
	kubeconfig string
	config     *rest.Config
	client     *kubernetes.Clientset
}

// window is how many changes of each table the server's projection keeps.
const window = 128

// start runs a server until the test ends. It has the namespace "default".
func start(t testing.TB, change func(*Config, *memlog.Config)) *cluster {
	t.Helper()
	c := &cluster{nodes: &fakeNodes{}, dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.Background())
	sealer, err := sealing.LoadOrCreate(c.dir)
	must(t, err)
	cfg := Config{Sealer: sealer, Nodes: c.nodes, Dir: c.dir, Version: "test"}
	var logs memlog.Config
	if change != nil {
		change(&cfg, &logs)
	}
	done := make(chan error, 3)
	c.log, c.world = follow(ctx, t, logs, done)
	leaseLog, leaseWorld := follow(ctx, t, memlog.Config{}, done)
	cfg.Main, cfg.Leases = Stream{World: c.world, Log: c.log}, Stream{World: leaseWorld, Log: leaseLog}
	c.Server, err = New(cfg)
	must(t, err)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		if c.client != nil { // a server that stops waits a second for connections that are open
			utilnet.CloseIdleConnectionsFor(c.client.RESTClient().(*rest.RESTClient).Client.Transport)
		}
		cancel()
		for range cap(done) {
			select {
			case err := <-done:
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the server does not stop")
			}
		}
	})
	c.kubeconfig = filepath.Join(c.dir, "kubeconfig")
	must(t, c.WriteKubeconfig(c.kubeconfig))
	c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	must(t, err)
	c.config.QPS = -1
	c.client, err = kubernetes.NewForConfig(c.config)
	must(t, err)
	_, err = c.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	must(t, err)
	return c
}

// follow is a log with its first event, and its projection.
func follow(ctx context.Context, t testing.TB, cfg memlog.Config, done chan<- error) (*memlog.Log, *projections.Projection) {
	t.Helper()
	log, world := memlog.New(cfg), projections.NewProjection(window)
	key := events.Key{Group: "periplus.dev", Resource: "clusters", Name: "cluster"}
	data, err := json.Marshal(events.State{UID: "cluster", Object: json.RawMessage(`{"apiVersion":"periplus.dev/v1","kind":"Cluster","metadata":{"name":"cluster","uid":"cluster"}}`)})
	must(t, err)
	_, err = log.Append(ctx, events.Proposal{Event: events.Event{
		ID: newID(), Type: events.ClusterInitialized, Source: events.DoorSource, Subject: key.Wanted(), Time: time.Now().UTC(),
		Actor: "user:test", Change: "c", Data: data,
	}})
	must(t, err)
	go func() {
		done <- log.Read(ctx, 1, func(r events.Recorded, head uint64) error { world.Fold(r, head); return nil })
	}()
	return log, world
}

// record appends an event as a node's agent or a reconciler would.
func (c *cluster) record(t testing.TB, p events.Proposal) {
	t.Helper()
	if p.ID == "" {
		p.ID = newID()
	}
	p.Time = time.Now().UTC()
	seqs, err := c.log.Append(t.Context(), p)
	must(t, err)
	_, err = c.world.Await(t.Context(), seqs[0])
	must(t, err)
}

// last is the newest event of an object's desired half.
func (c *cluster) last(t testing.TB, key string) events.Recorded {
	t.Helper()
	k, err := events.ParseKey(key)
	must(t, err)
	r, ok, err := c.log.Last(t.Context(), k.Wanted())
	must(t, err)
	if !ok {
		t.Fatalf("%s has no events", key)
	}
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fakeNodes answers for every node.
type fakeNodes struct{}

func (*fakeNodes) Logs(_ context.Context, node string, pod PodRef, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	r, w := io.Pipe()
	go func() {
		_, err := fmt.Fprintf(w, "%s/%s/%s on %s\n", pod.Namespace, pod.Name, o.Container, node)
		_ = w.CloseWithError(err)
	}()
	return r, nil
}

func (*fakeNodes) Exec(_ context.Context, _ string, _ PodRef, container string, command []string, stdin io.Reader, stdout, stderr io.Writer, _ bool, resize <-chan TerminalSize) (int, error) {
	if resize != nil {
		size := <-resize
		fmt.Fprintf(stdout, "%dx%d\n", size.Width, size.Height)
	}
	fmt.Fprintln(stdout, container, command)
	if stdin != nil {
		if _, err := io.Copy(stdout, stdin); err != nil {
			return 0, err
		}
	}
	if stderr != nil {
		fmt.Fprintln(stderr, "warning")
	}
	if command[0] == "fail" {
		return 7, nil
	}
	return 0, nil
}

// protobufClient is a client that speaks protobuf.
func protobufClient(t testing.TB, c *cluster) *kubernetes.Clientset {
	t.Helper()
	cfg := rest.CopyConfig(c.config)
	cfg.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(cfg)
	must(t, err)
	return client
}
