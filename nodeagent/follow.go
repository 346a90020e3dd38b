package nodeagent

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
)

// orphanPatience is how long a pod that the feed did not mention may go on,
// after the feed has said that it told all: what changes meanwhile comes a
// little later than that word.
const orphanPatience = 10 * time.Second

// follow takes over what the feed tells.
func (a *Agent) follow(ctx context.Context) error {
	return a.persist(ctx, "follow feed", func() error {
		return a.cfg.Feed.Follow(ctx, a.cfg.Node, func(item events.FeedItem) error {
			a.take(item)
			return nil
		})
	})
}

func (a *Agent) take(item events.FeedItem) {
	switch item.Kind {
	case events.FeedPods:
		a.takePod(item)
	case events.FeedConfigMaps, events.FeedSecrets:
		a.takeInput(item)
	case events.FeedSynced:
		a.takeSynced(item)
	}
}

// takePod hands an item to the pod's worker. An item that cannot be read is
// reported and passed over: there is nobody who could do better.
func (a *Agent) takePod(item events.FeedItem) {
	var pod *corev1.Pod
	a.mu.Lock()
	w, epoch := a.pods[item.UID], a.epoch
	a.mu.Unlock()
	if w != nil && w.knows(item, epoch) {
		return
	}
	if !item.Gone {
		pod = &corev1.Pod{}
		if err := json.Unmarshal(item.Object, pod); err != nil {
			a.cfg.Logger.Error("pod in the feed cannot be read, passed over", zap.String("uid", item.UID), zap.Error(err))
			return
		}
	}
	for told := false; !told; { // a worker may be dropped at this very moment
		a.mu.Lock()
		w = a.pods[item.UID]
		if w == nil && !item.Gone {
			w = newWorker(a, item.UID)
			a.pods[item.UID] = w
		}
		a.mu.Unlock()
		told = w == nil || w.tell(item, pod, epoch)
	}
}

// takeInput wakes the pods that use what is different.
func (a *Agent) takeInput(item events.FeedItem) {
	a.mu.Lock()
	changed, err := a.inputs.fold(item)
	a.mu.Unlock()
	if err != nil {
		a.cfg.Logger.Error("item in the feed cannot be read, passed over", zap.Error(err))
		return
	}
	if changed == "" {
		return
	}
	namespace, name, _ := strings.Cut(changed, "/")
	for _, w := range a.all() {
		w.inputChanged(item.Kind, namespace, name)
	}
}

func (a *Agent) takeSynced(item events.FeedItem) {
	a.mu.Lock()
	a.epoch++
	epoch, first := a.epoch, a.origin == events.Ref{}
	a.origin = item.Desired
	a.mu.Unlock()
	if first {
		close(a.synced)
		for _, w := range a.all() {
			w.wake()
		}
	}
	a.sweepLater(epoch)
}

// sweepLater asks for a sweep, unless another one is about to be made: a later
// one does what an earlier one would have done.
func (a *Agent) sweepLater(epoch int) {
	time.AfterFunc(orphanPatience, func() {
		select {
		case a.sweeps <- epoch:
		default:
		}
	})
}

// ready reports whether the feed has told all.
func (a *Agent) ready() bool {
	select {
	case <-a.synced:
		return true
	default:
		return false
	}
}

// sweep ends the pods that the feed has not mentioned in telling all, and removes
// what nobody knows of.
func (a *Agent) sweep(epoch int) {
	picture := a.look.picture()
	if picture.number == 0 {
		a.sweepLater(epoch)
		return
	}
	for _, w := range a.all() {
		w.expectMention(epoch)
	}
	for uid, p := range picture.pods {
		a.mu.Lock()
		w, known := a.pods[uid]
		if !known {
			w = newWorker(a, uid)
			a.pods[uid] = w
		}
		a.mu.Unlock()
		if !known {
			w.orphaned(p)
		}
	}
	a.sweepVolumes(picture)
}

// sweepVolumes removes the volumes of pods of which nothing else is left.
func (a *Agent) sweepVolumes(picture listing) {
	uids, err := a.cfg.Volumes.Pods()
	if err != nil {
		a.cfg.Logger.Warn("volumes cannot be listed", zap.Error(err))
	}
	for _, uid := range uids {
		a.mu.Lock()
		_, known := a.pods[uid]
		a.mu.Unlock()
		if _, there := picture.pods[uid]; known || there {
			continue
		}
		if err := a.cfg.Volumes.Remove(uid); err != nil {
			a.cfg.Logger.Warn("volumes cannot be removed", zap.String("uid", uid), zap.Error(err))
		}
	}
}

// uses reports whether a pod mentions a ConfigMap or a Secret.
func uses(pod *corev1.Pod, kind, namespace, name string) bool {
	if pod == nil || pod.Namespace != namespace {
		return false
	}
	secret := kind == events.FeedSecrets
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if containerUses(&list[i], secret, name) {
				return true
			}
		}
	}
	for i := range pod.Spec.Volumes {
		if volumeUses(&pod.Spec.Volumes[i], secret, name) {
			return true
		}
	}
	return false
}

func containerUses(c *corev1.Container, secret bool, name string) bool {
	return slices.ContainsFunc(c.EnvFrom, func(f corev1.EnvFromSource) bool {
		return secret && f.SecretRef != nil && f.SecretRef.Name == name || !secret && f.ConfigMapRef != nil && f.ConfigMapRef.Name == name
	}) || slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
		s := e.ValueFrom
		return s != nil && (secret && s.SecretKeyRef != nil && s.SecretKeyRef.Name == name ||
			!secret && s.ConfigMapKeyRef != nil && s.ConfigMapKeyRef.Name == name)
	})
}

func volumeUses(v *corev1.Volume, secret bool, name string) bool {
	switch {
	case secret && v.Secret != nil:
		return v.Secret.SecretName == name
	case !secret && v.ConfigMap != nil:
		return v.ConfigMap.Name == name
	case v.Projected != nil:
		for _, p := range v.Projected.Sources {
			if secret && p.Secret != nil && p.Secret.Name == name || !secret && p.ConfigMap != nil && p.ConfigMap.Name == name {
				return true
			}
		}
	}
	return false
}
