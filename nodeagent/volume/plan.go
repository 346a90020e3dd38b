package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Inputs are the ConfigMaps and Secrets of a pod's namespace, by name.
type Inputs interface {
	ConfigMap(name string) (*corev1.ConfigMap, bool)
	Secret(name string) (*corev1.Secret, bool)
}

// ErrMissing marks a ConfigMap, a Secret, or a key in one, that a pod needs and
// that is not there; it may come.
var ErrMissing = errors.New("not found")

// Kind is what makes a volume.
type Kind int

// The kinds of volume.
const (
	Empty Kind = iota // a directory of the pod's own
	Files             // files of given content
	Host              // a path of the node
)

// Volume is what one volume of a pod is to be.
type Volume struct {
	Name   string
	Kind   Kind
	Memory bool  // Empty, Files: held in memory, never on a disk
	Limit  int64 // Empty in memory: how much it may hold, in bytes; 0: no limit of its own
	Files  []File
	Path   string              // Host
	Type   corev1.HostPathType // Host
}

// File is a file of a volume.
type File struct {
	Path string // relative, without ".."
	Data []byte
	Mode fs.FileMode // permission bits
}

// Check says whether this node can give the pod its volumes; the error names the
// first one that it cannot.
func Check(pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		s := v.VolumeSource
		switch {
		case s.EmptyDir != nil, s.HostPath != nil, s.ConfigMap != nil, s.Secret != nil, s.DownwardAPI != nil:
		case s.Projected != nil:
			for _, p := range s.Projected.Sources {
				if p.ConfigMap == nil && p.Secret == nil && p.DownwardAPI == nil {
					return fmt.Errorf("volume %q: this node can project configMap, secret and downwardAPI only", v.Name)
				}
			}
		default:
			return fmt.Errorf("volume %q: this node knows emptyDir, hostPath, configMap, secret, downwardAPI and projected only", v.Name)
		}
	}
	return nil
}

// Plan says what each volume of a pod is to be. node is what the node can give,
// for limits that are not set. An error wraps [ErrMissing] if it may pass.
func Plan(pod *corev1.Pod, in Inputs, node corev1.ResourceList) ([]Volume, error) {
	var out []Volume
	for i := range pod.Spec.Volumes {
		v, err := plan(pod, &pod.Spec.Volumes[i], in, node)
		if err != nil {
			return nil, fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", pod.Spec.Volumes[i].Name, err)
		}
		out = append(out, v)
	}
	return out, nil
}

func plan(pod *corev1.Pod, v *corev1.Volume, in Inputs, node corev1.ResourceList) (Volume, error) {
	c := &content{pod: pod, in: in, node: node}
	out := Volume{Name: v.Name, Kind: Files}
	var err error
	switch s := v.VolumeSource; {
	case s.EmptyDir != nil:
		out.Kind, out.Memory = Empty, s.EmptyDir.Medium == corev1.StorageMediumMemory
		if s.EmptyDir.SizeLimit != nil {
			out.Limit = s.EmptyDir.SizeLimit.Value()
		}
	case s.HostPath != nil:
		out.Kind, out.Path = Host, s.HostPath.Path
		if s.HostPath.Type != nil {
			out.Type = *s.HostPath.Type
		}
	case s.ConfigMap != nil:
		c.mode(s.ConfigMap.DefaultMode)
		err = c.configMap(s.ConfigMap.Name, s.ConfigMap.Items, optional(s.ConfigMap.Optional))
	case s.Secret != nil:
		out.Memory = true
		c.mode(s.Secret.DefaultMode)
		err = c.secret(s.Secret.SecretName, s.Secret.Items, optional(s.Secret.Optional))
	case s.DownwardAPI != nil:
		c.mode(s.DownwardAPI.DefaultMode)
		err = c.downward(s.DownwardAPI.Items)
	case s.Projected != nil:
		c.mode(s.Projected.DefaultMode)
		for _, p := range s.Projected.Sources {
			out.Memory = out.Memory || p.Secret != nil
			if err == nil {
				err = c.projection(p)
			}
		}
	default:
		err = Check(pod)
	}
	out.Files = c.files
	return out, err
}

// content gathers the files of a volume.
type content struct {
	pod         *corev1.Pod
	in          Inputs
	node        corev1.ResourceList
	defaultMode fs.FileMode
	files       []File
}

func (c *content) mode(m *int32) {
	c.defaultMode = 0o644
	if m != nil {
		c.defaultMode = fs.FileMode(*m).Perm()
	}
}

func (c *content) projection(p corev1.VolumeProjection) error {
	switch {
	case p.ConfigMap != nil:
		return c.configMap(p.ConfigMap.Name, p.ConfigMap.Items, optional(p.ConfigMap.Optional))
	case p.Secret != nil:
		return c.secret(p.Secret.Name, p.Secret.Items, optional(p.Secret.Optional))
	case p.DownwardAPI != nil:
		return c.downward(p.DownwardAPI.Items)
	default:
		return Check(c.pod)
	}
}

func (c *content) configMap(name string, items []corev1.KeyToPath, optional bool) error {
	m, ok := c.in.ConfigMap(name)
	if !ok {
		return absent("configmap", name, optional)
	}
	data := map[string][]byte{}
	for k, v := range m.Data {
		data[k] = []byte(v)
	}
	maps.Copy(data, m.BinaryData)
	return c.keys("configmap", data, items, optional)
}

func (c *content) secret(name string, items []corev1.KeyToPath, optional bool) error {
	s, ok := c.in.Secret(name)
	if !ok {
		return absent("secret", name, optional)
	}
	return c.keys("secret", s.Data, items, optional)
}

func absent(kind, name string, optional bool) error {
	if optional {
		return nil
	}
	return fmt.Errorf("%s %q %w", kind, name, ErrMissing)
}

// keys adds the chosen keys, or all of them, as files.
func (c *content) keys(kind string, data map[string][]byte, items []corev1.KeyToPath, optional bool) error {
	if len(items) == 0 {
		for k, v := range data {
			if err := c.add(k, v, nil); err != nil {
				return err
			}
		}
		return nil
	}
	for _, item := range items {
		v, ok := data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return fmt.Errorf("%s references non-existent key: %s: %w", kind, item.Key, ErrMissing)
		}
		if err := c.add(item.Path, v, item.Mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) downward(items []corev1.DownwardAPIVolumeFile) error {
	for _, item := range items {
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = Field(c.pod, item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			value, err = Quantity(c.pod, item.ResourceFieldRef.ContainerName, item.ResourceFieldRef, c.node)
		default:
			err = fmt.Errorf("file %q has no source", item.Path)
		}
		if err == nil {
			err = c.add(item.Path, []byte(value), item.Mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add puts a file into the volume. A later one of the same path wins.
func (c *content) add(path string, data []byte, mode *int32) error {
	path = filepath.Clean(path)
	if !filepath.IsLocal(path) || path == "." || strings.HasPrefix(path, "..") {
		return fmt.Errorf("file %q leads out of the volume", path)
	}
	f := File{Path: path, Data: data, Mode: c.defaultMode}
	if mode != nil {
		f.Mode = fs.FileMode(*mode).Perm()
	}
	i, found := slices.BinarySearchFunc(c.files, path, func(f File, path string) int { return strings.Compare(f.Path, path) })
	if found {
		c.files[i] = f
	} else {
		c.files = slices.Insert(c.files, i, f)
	}
	return nil
}

func optional(b *bool) bool { return b != nil && *b }
