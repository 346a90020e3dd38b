package nodeagent

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
)

// inputs are the ConfigMaps and Secrets that the feed has told of. The agent's
// mutex guards it; the objects in it are never changed.
type inputs struct {
	configMaps map[string]*corev1.ConfigMap // by namespace/name
	secrets    map[string]*corev1.Secret    // by namespace/name
	names      map[string]string            // namespace/name by kind/uid
}

func newInputs() inputs {
	return inputs{configMaps: map[string]*corev1.ConfigMap{}, secrets: map[string]*corev1.Secret{}, names: map[string]string{}}
}

// fold takes over an item and returns the namespace/name of the object that is
// different, or an empty string.
func (in *inputs) fold(item events.FeedItem) (changed string, err error) {
	id := item.Kind + "/" + item.UID
	name := in.names[id]
	if item.Gone {
		delete(in.names, id)
		in.forget(item.Kind, name, item.UID)
		return name, nil
	}
	switch item.Kind {
	case events.FeedConfigMaps:
		m := &corev1.ConfigMap{}
		if err := json.Unmarshal(item.Object, m); err != nil {
			return "", fmt.Errorf("decode configmap %s: %w", item.UID, err)
		}
		name = m.Namespace + "/" + m.Name
		in.configMaps[name] = m
	case events.FeedSecrets:
		s := &corev1.Secret{}
		if err := json.Unmarshal(item.Object, s); err != nil {
			return "", fmt.Errorf("decode secret %s: %w", item.UID, err)
		}
		name = s.Namespace + "/" + s.Name
		in.secrets[name] = s
	}
	in.names[id] = name
	return name, nil
}

// forget drops an object unless another one has taken its name.
func (in *inputs) forget(kind, name, uid string) {
	switch kind {
	case events.FeedConfigMaps:
		if m, ok := in.configMaps[name]; ok && string(m.UID) == uid {
			delete(in.configMaps, name)
		}
	case events.FeedSecrets:
		if s, ok := in.secrets[name]; ok && string(s.UID) == uid {
			delete(in.secrets, name)
		}
	}
}

// namespaced is what a pod sees of the inputs.
type namespaced struct {
	agent     *Agent
	namespace string
}

// ConfigMap implements [volume.Inputs].
func (n namespaced) ConfigMap(name string) (*corev1.ConfigMap, bool) {
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	m, ok := n.agent.inputs.configMaps[n.namespace+"/"+name]
	return m, ok
}

// Secret implements [volume.Inputs].
func (n namespaced) Secret(name string) (*corev1.Secret, bool) {
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	s, ok := n.agent.inputs.secrets[n.namespace+"/"+name]
	return s, ok
}
