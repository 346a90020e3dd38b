package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/nodeagent/runtime"
)

// Mounts are the mounts of one container. expand resolves $(NAME) in a
// subPathExpr.
func (d Dir) Mounts(uid string, volumes []Volume, c *corev1.Container, expand func(string) (string, error)) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for _, m := range c.VolumeMounts {
		mount, err := d.mount(uid, volumes, m, expand)
		if err != nil {
			return nil, fmt.Errorf("mount volume %q at %s: %w", m.Name, m.MountPath, err)
		}
		out = append(out, mount)
	}
	return out, nil
}

func (d Dir) mount(uid string, volumes []Volume, m corev1.VolumeMount, expand func(string) (string, error)) (runtime.Mount, error) {
	out := runtime.Mount{ContainerPath: m.MountPath, ReadOnly: m.ReadOnly}
	if !filepath.IsAbs(out.ContainerPath) {
		out.ContainerPath = "/" + out.ContainerPath
	}
	for _, v := range volumes {
		if v.Name != m.Name {
			continue
		}
		out.HostPath = v.Path
		if v.Kind != Host {
			out.HostPath = d.path(uid, v.Name)
		}
		out.ReadOnly = out.ReadOnly || v.Kind == Files
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var err error
			if sub, err = expand(m.SubPathExpr); err != nil {
				return out, err
			}
		}
		var err error
		if sub != "" {
			out.HostPath, err = d.below(out.HostPath, sub)
		}
		return out, err
	}
	return out, errors.New("the pod has no such volume")
}

// below is a path within a volume, made as a directory if nothing is there. It
// follows no link out of the volume.
func (d Dir) below(volume, sub string) (string, error) {
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	if d.Root == "" {
		return filepath.Join(volume, sub), nil
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		err = root.MkdirAll(sub, dirMode)
		if err != nil {
			return "", fmt.Errorf("make subPath %q: %w", sub, err)
		}
	} else if err != nil {
		return "", fmt.Errorf("subPath %q: %w", sub, err)
	}
	return filepath.EvalSymlinks(filepath.Join(volume, sub))
}
