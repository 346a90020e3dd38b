package controlplane

import (
	"context"
	"encoding/json"
	"fmt"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// FeederConfig is what a Feeder needs; all fields but Nodes are required.
type FeederConfig struct {
	World *projections.Projection
	Feed  events.FeedWriter
	// Open returns a Secret with its values in the clear.
	Open func(*corev1.Secret) (*corev1.Secret, error)
	// Nodes are fed even before they have registered.
	Nodes  []string
	Logger *zap.Logger
}

// Feeder hands each node what it needs for its work: the pods bound to it and
// the ConfigMaps and Secrets they use, nothing of other nodes.
type Feeder struct {
	FeederConfig

	seen  uint64
	nodes map[string]*fed
}

// fed is what one node has been given.
type fed struct {
	synced bool
	pods   map[events.Key]string       // pod to uid
	uses   map[use]uint64              // to the sequence of the object that was put, 0 if it is not there
	uids   map[use]string              // to the uid it was put under
	needs  map[events.Key]map[use]bool // per pod
}

// use is a ConfigMap or Secret that a pod refers to.
type use struct{ table, namespace, name string }

// NewFeeder makes a Feeder; it does nothing before [Feeder.Run].
func NewFeeder(cfg FeederConfig) *Feeder {
	return &Feeder{FeederConfig: cfg, nodes: map[string]*fed{}}
}

// Run feeds until ctx ends.
func (f *Feeder) Run(ctx context.Context) error {
	select {
	case <-f.World.CaughtUp():
	case <-ctx.Done():
		return nil
	}
	f.startOver()
	var wait backoff
	for ctx.Err() == nil {
		next, err := f.catchUp(ctx)
		if err != nil {
			f.Logger.Warn("feeding nodes was interrupted", zap.Error(err))
			f.startOver()
			wait.sleep(ctx)
			continue
		}
		wait = 0
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
	return nil
}

// startOver forgets what was fed, so that all of it is fed again.
func (f *Feeder) startOver() { f.seen, f.nodes = 0, map[string]*fed{} }

// catchUp feeds what changed and returns a channel closed at the next change.
func (f *Feeder) catchUp(ctx context.Context) (<-chan struct{}, error) {
	changes, next, err := f.World.Changes("", f.seen)
	w := f.World.Current() // not older than the changes: else a ConfigMap among them would be fed as it was
	if w.Seq() > 0 && (f.seen == 0 || err != nil) {
		f.seen = w.Seq()
		if err := f.feedAll(ctx, w); err != nil {
			return nil, err
		}
		return f.catchUp(ctx) // with what has come meanwhile
	}
	for _, c := range changes {
		if err := f.feedChange(ctx, w, c); err != nil {
			return nil, err
		}
		f.seen = c.Seq
	}
	return next, nil
}

func (f *Feeder) feedAll(ctx context.Context, w *projections.World) error {
	for pod := range w.List(projections.Pods, "") {
		if err := f.feedPod(ctx, w, pod.NodeName(), pod, false); err != nil {
			return err
		}
	}
	names := append([]string{}, f.Nodes...)
	for node := range w.List(projections.Nodes, "") {
		names = append(names, node.Key.Name)
	}
	for _, name := range names {
		if err := f.sync(ctx, w, name); err != nil {
			return err
		}
	}
	return nil
}

func (f *Feeder) sync(ctx context.Context, w *projections.World, node string) error {
	n := f.node(node)
	if n.synced {
		return nil
	}
	item := events.FeedItem{Kind: events.FeedSynced, UID: node, Seq: w.Seq(), Desired: w.Genesis()}
	if err := f.Feed.Put(ctx, node, item); err != nil {
		return fmt.Errorf("feed node %s: %w", node, err)
	}
	n.synced = true
	return nil
}

func (f *Feeder) node(name string) *fed {
	n, ok := f.nodes[name]
	if !ok {
		n = &fed{pods: map[events.Key]string{}, uses: map[use]uint64{}, uids: map[use]string{}, needs: map[events.Key]map[use]bool{}}
		f.nodes[name] = n
	}
	return n
}

func (f *Feeder) feedChange(ctx context.Context, w *projections.World, c projections.Change) error {
	switch table := c.Object.Key.GroupResource(); table {
	case projections.Pods:
		return f.feedPod(ctx, w, c.Object.NodeName(), c.Object, c.Type == projections.Deleted)
	case projections.ConfigMaps, projections.Secrets:
		u := use{table, c.Object.Key.Namespace, c.Object.Key.Name}
		for name, n := range f.nodes {
			if _, used := n.uses[u]; used {
				if err := f.feedUse(ctx, w, name, u); err != nil {
					return err
				}
			}
		}
		return nil
	case projections.Nodes:
		if c.Type == projections.Added {
			return f.sync(ctx, w, c.Object.Key.Name)
		}
		return nil
	default:
		return nil
	}
}

// feedPod feeds a pod, after what it uses, so that a node never sees a pod
// before its configuration.
func (f *Feeder) feedPod(ctx context.Context, w *projections.World, node string, pod *projections.Object, gone bool) error {
	if node == "" {
		return nil
	}
	n := f.node(node)
	if !gone {
		if n.needs[pod.Key] = usesOf(projections.As[*corev1.Pod](pod)); len(n.needs[pod.Key]) == 0 {
			delete(n.needs, pod.Key)
		}
		for u := range n.needs[pod.Key] {
			if err := f.feedUse(ctx, w, node, u); err != nil {
				return err
			}
		}
	}
	item := events.FeedItem{
		Kind: events.FeedPods, UID: string(pod.UID()), Seq: pod.Seq, Gone: gone, Desired: pod.Desired,
	}
	if pod.Observer == node {
		item.Observed = pod.Observed
	}
	if !gone {
		var err error
		value := projections.As[*corev1.Pod](pod).DeepCopy()
		value.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Pod"})
		if item.Object, err = json.Marshal(value); err != nil {
			return fmt.Errorf("encode %s: %w", pod.Key, err)
		}
	}
	if err := f.Feed.Put(ctx, node, item); err != nil {
		return fmt.Errorf("feed node %s: %w", node, err)
	}
	if gone {
		delete(n.pods, pod.Key)
		delete(n.needs, pod.Key)
		return f.dropUnused(ctx, node)
	}
	n.pods[pod.Key] = item.UID
	return nil
}

// feedUse feeds a ConfigMap or Secret if the node has another version of it.
func (f *Feeder) feedUse(ctx context.Context, w *projections.World, node string, u use) error {
	n := f.node(node)
	o, ok := w.Get(events.Key{Resource: u.table, Namespace: u.namespace, Name: u.name})
	had, known := n.uses[u]
	switch {
	case !ok && known && had == 0, ok && had == o.Seq:
		return nil
	case !ok && !known:
		n.uses[u] = 0
		return nil
	case !ok:
		item := events.FeedItem{Kind: u.table, UID: n.uids[u], Seq: w.Seq(), Gone: true}
		n.uses[u] = 0
		return f.put(ctx, node, item)
	}
	raw, err := f.configuration(o)
	if err != nil {
		return err
	}
	item := events.FeedItem{Kind: u.table, UID: string(o.UID()), Seq: o.Seq, Object: raw, Desired: o.Desired}
	n.uses[u], n.uids[u] = o.Seq, item.UID
	return f.put(ctx, node, item)
}

func (f *Feeder) put(ctx context.Context, node string, item events.FeedItem) error {
	if err := f.Feed.Put(ctx, node, item); err != nil {
		return fmt.Errorf("feed node %s: %w", node, err)
	}
	return nil
}

// configuration is a ConfigMap or an opened Secret as JSON.
func (f *Feeder) configuration(o *projections.Object) (json.RawMessage, error) {
	var value any
	switch v := o.Value().(type) {
	case *corev1.Secret:
		opened, err := f.Open(v.DeepCopy())
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", o.Key, err)
		}
		value = opened
	default:
		value = v
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", o.Key, err)
	}
	return raw, nil
}

// dropUnused takes from a node what none of its pods uses any longer.
func (f *Feeder) dropUnused(ctx context.Context, node string) error {
	n := f.node(node)
	needed := map[use]bool{}
	for _, uses := range n.needs {
		for u := range uses {
			needed[u] = true
		}
	}
	for u, seq := range n.uses {
		if needed[u] {
			continue
		}
		if seq > 0 {
			// With the sequence of what it takes away: the same version may come again.
			if err := f.put(ctx, node, events.FeedItem{Kind: u.table, UID: n.uids[u], Seq: seq, Gone: true}); err != nil {
				return err
			}
		}
		delete(n.uses, u)
		delete(n.uids, u)
	}
	return nil
}

// usesOf lists the ConfigMaps and Secrets a pod refers to.
func usesOf(pod *corev1.Pod) map[use]bool {
	out := map[use]bool{}
	add := func(table, name string) {
		if name != "" {
			out[use{table, pod.Namespace, name}] = true
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add(projections.Secrets, s.Name)
	}
	for _, v := range pod.Spec.Volumes {
		usesOfVolume(v, add)
	}
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for _, c := range cs {
			usesOfContainer(c, add)
		}
	}
	return out
}

func usesOfVolume(v corev1.Volume, add func(table, name string)) {
	if v.ConfigMap != nil {
		add(projections.ConfigMaps, v.ConfigMap.Name)
	}
	if v.Secret != nil {
		add(projections.Secrets, v.Secret.SecretName)
	}
	if v.Projected == nil {
		return
	}
	for _, s := range v.Projected.Sources {
		if s.ConfigMap != nil {
			add(projections.ConfigMaps, s.ConfigMap.Name)
		}
		if s.Secret != nil {
			add(projections.Secrets, s.Secret.Name)
		}
	}
}

func usesOfContainer(c corev1.Container, add func(table, name string)) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			add(projections.ConfigMaps, from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil {
			add(projections.Secrets, from.SecretRef.Name)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if r := e.ValueFrom.ConfigMapKeyRef; r != nil {
			add(projections.ConfigMaps, r.Name)
		}
		if r := e.ValueFrom.SecretKeyRef; r != nil {
			add(projections.Secrets, r.Name)
		}
	}
}
