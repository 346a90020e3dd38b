package nodeagent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/controlplane"
	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/nodeagent"
	"periplus.dev/nodeagent/fakeruntime"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/projections"
)

const nodeName = "n1"

// bench is a control plane that decides nothing, and one node. On the fake
// runtime it lives in a synctest bubble, where time passes as soon as everybody
// waits.
type bench struct {
	t      *testing.T
	log    *memlog.Log
	feed   *memlog.Feed
	world  *projections.Projection
	rt     *fakeruntime.Runtime
	config nodeagent.Config // changed by a test before it starts the agent
	agent  *nodeagent.Agent

	ids      atomic.Int64
	planes   sync.WaitGroup
	endPlane context.CancelFunc
	agents   sync.WaitGroup
	endAgent context.CancelFunc
	settle   func() // waits until nobody has anything to do; nothing outside of a bubble
}

// scenario runs a test in a bubble, with a control plane and a node without an
// agent.
func scenario(t *testing.T, faults memlog.Config, node fakeruntime.Config, run func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if !node.PodCIDR.IsValid() {
			node.PodCIDR = netip.MustParsePrefix("10.244.1.0/24")
		}
		node.NodeName = nodeName
		rt, err := fakeruntime.New(node)
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(t, faults, rt, synctest.Wait)
		b.rt = rt
		defer b.end()
		run(b)
	})
}

// newBench starts a control plane for a node with the runtime.
func newBench(t *testing.T, faults memlog.Config, rt runtime.Runtime, settle func()) *bench {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &bench{t: t, log: memlog.New(faults), feed: &memlog.Feed{}, world: projections.NewProjection(0), endPlane: cancel, settle: settle}
	b.config = nodeagent.Config{Node: nodeName, Runtime: rt, Log: b.log, Feed: b.feed, NewID: b.newID, Version: "v0"}
	if err := controlplane.Initialize(ctx, b.log, time.Now(), b.newID, "user:test"); err != nil {
		t.Fatal(err)
	}
	b.planes.Go(func() { b.check(controlplane.Follow(ctx, b.log, b.world, zap.NewNop())) })
	b.feedAnew()
	return b
}

func (b *bench) end() {
	b.stop()
	b.endPlane()
	b.planes.Wait()
}

func (b *bench) check(err error) {
	if err != nil {
		b.t.Errorf("control plane: %v", err)
	}
}

func (b *bench) newID() string { return fmt.Sprintf("id-%d", b.ids.Add(1)) }

// start starts the agent, and settles.
func (b *bench) start() {
	b.t.Helper()
	var err error
	if b.agent, err = nodeagent.New(b.config); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.endAgent = cancel
	b.agents.Go(func() {
		if err := b.agent.Run(ctx); !errors.Is(err, context.Canceled) {
			b.t.Errorf("agent: %v", err)
		}
	})
	b.settle()
}

// stop ends the agent; containers go on.
func (b *bench) stop() {
	if b.endAgent != nil {
		b.endAgent()
		b.agents.Wait()
		b.endAgent = nil
	}
}

// pass lets time pass, and what happens in it.
func (b *bench) pass(d time.Duration) {
	time.Sleep(d)
	b.settle()
}

func (b *bench) append(p events.Proposal) {
	b.t.Helper()
	p.ID, p.Time, p.Source, p.Actor = b.newID(), time.Now(), events.DoorSource, "user:test"
	p.Change = p.ID
	seqs, err := b.log.Append(context.Background(), p)
	if err == nil {
		_, err = b.world.Await(context.Background(), seqs[0])
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.settle()
}

func podKey(name string) events.Key {
	return events.Key{Resource: "pods", Namespace: "shop", Name: name}
}

// pod is a pod on the node with one container that runs a command line.
func pod(name, command string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: nodeName, RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{
			Name: "main", Image: "docker.io/demo/toolbox:1", ImagePullPolicy: corev1.PullIfNotPresent,
			Command: []string{"sh", "-c", command},
		}}},
	}
}

func (b *bench) create(p *corev1.Pod) {
	b.t.Helper()
	b.append(projections.Created(podKey(p.Name), events.TypeOf("pod", events.FactCreated), events.Ref{}, p))
}

func (b *bench) createObject(table, kind, name string, o kruntime.Object) {
	b.t.Helper()
	b.append(projections.Created(events.Key{Resource: table, Namespace: "shop", Name: name}, events.TypeOf(kind, events.FactCreated), events.Ref{}, o))
}

func (b *bench) object(key events.Key) *projections.Object {
	b.t.Helper()
	o, ok := b.world.Current().Get(key)
	if !ok {
		b.t.Fatalf("%s is not there", key)
	}
	return o
}

// delete asks for a pod's end.
func (b *bench) delete(name string, grace int64) {
	b.t.Helper()
	o := b.object(podKey(name))
	p := projections.As[*corev1.Pod](o).DeepCopy()
	at := metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &at, &grace
	proposal := projections.Changed(o, events.TypeOf("pod", events.FactDeletionRequested), o.Desired, p)
	b.append(proposal)
}

// remove takes a pod away, as the door does when its node has stopped it.
func (b *bench) remove(name string) {
	b.t.Helper()
	o := b.object(podKey(name))
	b.append(projections.Removed(o, events.TypeOf("pod", events.FactDeleted), o.Desired))
}

func (b *bench) status(name string) corev1.PodStatus {
	b.t.Helper()
	return projections.As[*corev1.Pod](b.object(podKey(name))).Status
}

// history is what was recorded of an object since the last time, short.
func (b *bench) history(key events.Key) []events.Recorded {
	b.t.Helper()
	var out []events.Recorded
	if err := b.log.Of(context.Background(), key, func(r events.Recorded) error {
		out = append(out, r)
		return nil
	}); err != nil {
		b.t.Fatal(err)
	}
	return out
}

func short(rs []events.Recorded) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.Type.Short())
	}
	return out
}

// observed is the history of a pod as its node recorded it.
func (b *bench) observed(name string) []events.Recorded {
	return slices.DeleteFunc(b.history(podKey(name)), func(r events.Recorded) bool { return r.Subject.Half != events.Actual })
}

func (b *bench) wantObserved(name string, want ...string) {
	b.t.Helper()
	if got := short(b.observed(name)); !slices.Equal(got, want) {
		b.t.Errorf("recorded of %s:\n  got  %s\n  want %s", name, strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

func decode[T any](b *bench, r events.Recorded) T {
	b.t.Helper()
	v, err := events.Decode[T](r)
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// feedAnew starts the feed, with what is there now.
func (b *bench) feedAnew() {
	ctx, cancel := context.WithCancel(context.Background())
	end := b.endPlane
	b.endPlane = func() { cancel(); end() }
	feeder := controlplane.NewFeeder(controlplane.FeederConfig{
		World: b.world, Feed: b.feed, Nodes: []string{nodeName}, Logger: zap.NewNop(),
		Open: func(s *corev1.Secret) (*corev1.Secret, error) { return s, nil },
	})
	b.planes.Go(func() { b.check(feeder.Run(ctx)) })
	b.settle()
}
