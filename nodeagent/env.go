package nodeagent

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/volume"
)

// environment is what one container's variables are made from.
type environment struct {
	pod       *corev1.Pod // with its addresses in the status
	container *corev1.Container
	inputs    volume.Inputs
	node      corev1.ResourceList // what the node can give

	names  []string // in the order of their first mention
	values map[string]string
}

// variables resolves a container's environment. An error is an
// [*runtime.Error] that says what is missing.
func variables(pod *corev1.Pod, c *corev1.Container, in volume.Inputs, node corev1.ResourceList) (*environment, error) {
	e := &environment{pod: pod, container: c, inputs: in, node: node, values: map[string]string{}}
	for _, from := range c.EnvFrom {
		if err := e.from(from); err != nil {
			return nil, configError(err)
		}
	}
	for i := range c.Env {
		value, ok, err := e.value(&c.Env[i])
		if err != nil {
			return nil, configError(err)
		}
		if ok {
			e.set(c.Env[i].Name, value)
		}
	}
	return e, nil
}

func configError(err error) error {
	return &runtime.Error{Reason: runtime.ReasonConfig, Message: err.Error(), Err: err}
}

// list is the environment as NAME=value.
func (e *environment) list() []string {
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		out = append(out, name+"="+e.values[name])
	}
	return out
}

// lookup gives the value of a variable, for expansion.
func (e *environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// expandAll resolves $(NAME) in each of a command's words.
func (e *environment) expandAll(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = expand(w, e.lookup)
	}
	return out
}

// strictly resolves $(NAME), all of which have to be known.
func (e *environment) strictly(s string) (string, error) {
	missing := ""
	out := expand(s, func(name string) (string, bool) {
		v, ok := e.values[name]
		if !ok {
			missing = name
		}
		return v, ok
	})
	if missing != "" {
		return "", fmt.Errorf("missing value for %q", missing)
	}
	return out, nil
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// from takes all keys of a ConfigMap or Secret.
func (e *environment) from(s corev1.EnvFromSource) error {
	data := map[string]string{}
	switch {
	case s.ConfigMapRef != nil:
		m, ok := e.inputs.ConfigMap(s.ConfigMapRef.Name)
		if !ok {
			return absent("configmap", s.ConfigMapRef.Name, s.ConfigMapRef.Optional)
		}
		data = m.Data
	case s.SecretRef != nil:
		m, ok := e.inputs.Secret(s.SecretRef.Name)
		if !ok {
			return absent("secret", s.SecretRef.Name, s.SecretRef.Optional)
		}
		for k, v := range m.Data {
			data[k] = string(v)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(data)) {
		e.set(s.Prefix+k, data[k])
	}
	return nil
}

func absent(kind, name string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("%s %q %w", kind, name, volume.ErrMissing)
}

// value resolves one variable; ok is false if it is to be left out.
func (e *environment) value(v *corev1.EnvVar) (value string, ok bool, err error) {
	s := v.ValueFrom
	switch {
	case s == nil:
		return expand(v.Value, e.lookup), true, nil
	case s.FieldRef != nil:
		value, err = volume.Field(e.pod, s.FieldRef.FieldPath)
		return value, true, err
	case s.ResourceFieldRef != nil:
		value, err = volume.Quantity(e.pod, e.container.Name, s.ResourceFieldRef, e.node)
		return value, true, err
	case s.ConfigMapKeyRef != nil:
		return e.configMapKey(s.ConfigMapKeyRef)
	case s.SecretKeyRef != nil:
		return e.secretKey(s.SecretKeyRef)
	default:
		return "", false, fmt.Errorf("variable %s: this node cannot take a value from there", v.Name)
	}
}

func (e *environment) configMapKey(ref *corev1.ConfigMapKeySelector) (string, bool, error) {
	m, ok := e.inputs.ConfigMap(ref.Name)
	if !ok {
		return "", false, absent("configmap", ref.Name, ref.Optional)
	}
	if v, ok := m.Data[ref.Key]; ok {
		return v, true, nil
	}
	return "", false, e.absentKey("ConfigMap", ref.Name, ref.Key, ref.Optional)
}

func (e *environment) secretKey(ref *corev1.SecretKeySelector) (string, bool, error) {
	m, ok := e.inputs.Secret(ref.Name)
	if !ok {
		return "", false, absent("secret", ref.Name, ref.Optional)
	}
	if v, ok := m.Data[ref.Key]; ok {
		return string(v), true, nil
	}
	return "", false, e.absentKey("Secret", ref.Name, ref.Key, ref.Optional)
}

func (e *environment) absentKey(kind, name, key string, optional *bool) error {
	if optional != nil && *optional {
		return nil
	}
	return fmt.Errorf("couldn't find key %s in %s %s/%s", key, kind, e.pod.Namespace, name)
}
