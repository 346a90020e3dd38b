package volume

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir holds the volumes of a node's pods: DIR/UID/VOLUME.
//
// A volume of files looks as on every Kubernetes node: the files are links
// through "..data" into a directory of their own, and changing what "..data"
// points at changes all of them at once.
//
// The zero value makes nothing and is for nodes whose containers are not real.
type Dir struct{ Root string }

const (
	current = "..data"
	dirMode = 0o755
)

// Set makes the volumes of a pod what they are to be. Volumes that are there are
// kept; files that differ are replaced. With group, the files and directories
// that belong to the pod are given to that group.
func (d Dir) Set(uid string, volumes []Volume, group *int64) error {
	if d.Root == "" {
		return nil
	}
	if err := checkUID(uid); err != nil {
		return err
	}
	for _, v := range volumes {
		if err := d.set(uid, v, group); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", v.Name, err)
		}
	}
	return nil
}

// checkUID refuses a uid that is not one path element.
func checkUID(uid string) error {
	if uid == "" || uid == "." || strings.Contains(uid, "/") || strings.HasPrefix(uid, "..") {
		return fmt.Errorf("pod uid %q is no name for a directory", uid)
	}
	return nil
}

func (d Dir) set(uid string, v Volume, group *int64) error {
	if v.Kind == Host {
		return hostPath(v)
	}
	path := d.path(uid, v.Name)
	mode := fs.FileMode(dirMode)
	if v.Kind == Empty {
		mode = 0o777
	}
	_, err := os.Stat(path)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	if v.Memory {
		if err := inMemory(path, v); err != nil {
			return err
		}
	}
	if v.Kind == Files {
		if err := write(path, v.Files, group); err != nil {
			return err
		}
	}
	if !made && v.Kind == Empty {
		return nil // it is the pod's by now
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		return err
	}
	return giveTo(path, group)
}

// inMemory mounts a tmpfs. An emptyDir that cannot have one falls back to the
// disk; a Secret does not.
func inMemory(path string, v Volume) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && int64(st.Type) == unix.TMPFS_MAGIC && isMount(path) { //nolint:unconvert // its width differs between architectures
		return nil
	}
	options := "mode=0755"
	if v.Limit > 0 {
		options += fmt.Sprintf(",size=%d", v.Limit)
	}
	err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
	if errors.Is(err, unix.EPERM) && v.Kind == Empty {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs: %w", err)
	}
	return nil
}

// isMount reports whether a directory is on another file system than its parent.
func isMount(path string) bool {
	var here, above unix.Stat_t
	return unix.Stat(path, &here) == nil && unix.Stat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

func giveTo(path string, group *int64) error {
	if group == nil {
		return nil
	}
	if err := os.Chown(path, -1, int(*group)); err != nil {
		return err
	}
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Chmod(path, st.Mode().Perm()|0o070|fs.ModeSetgid)
}

// write replaces the files of a volume at one stroke, if they differ.
func write(volume string, files []File, group *int64) error {
	name := "..v" + fingerprint(files, group)
	old, err := os.Readlink(filepath.Join(volume, current))
	if err == nil && old == name {
		return nil
	}
	if err := writeVersion(filepath.Join(volume, name), files, group); err != nil {
		return err
	}
	next := filepath.Join(volume, current+"_next")
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(name, next); err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(volume, current)); err != nil {
		return err
	}
	if err := link(volume, files); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(volume, filepath.Base(old)))
}

// fingerprint names a version of a volume by its content.
func fingerprint(files []File, group *int64) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%q %o %d\n", f.Path, f.Mode, len(f.Data))
		h.Write(f.Data)
	}
	if group != nil {
		fmt.Fprintf(h, "group %d", *group)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func writeVersion(dir string, files []File, group *int64) error {
	if err := os.RemoveAll(dir); err != nil { // what a crash has left
		return err
	}
	if err := os.Mkdir(dir, dirMode); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Path)
		if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, f.Mode); err != nil {
			return err
		}
		mode := f.Mode
		if group != nil {
			mode |= 0o040
			if err := os.Chown(path, -1, int(*group)); err != nil {
				return err
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			return err
		}
	}
	return nil
}

// link makes the names by which the files are seen, and removes those of files
// that are no more.
func link(volume string, files []File) error {
	wanted := map[string]bool{}
	for _, f := range files {
		first, _, _ := strings.Cut(f.Path, "/")
		wanted[first] = true
	}
	entries, err := os.ReadDir(volume)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), ".."):
		case wanted[e.Name()]:
			delete(wanted, e.Name())
		default:
			if err := os.Remove(filepath.Join(volume, e.Name())); err != nil {
				return err
			}
		}
	}
	for name := range wanted {
		if err := os.Symlink(filepath.Join(current, name), filepath.Join(volume, name)); err != nil {
			return err
		}
	}
	return nil
}

func (d Dir) path(uid, name string) string { return filepath.Join("/", d.Root, uid, name) }

// Remove removes all volumes of a pod. What belongs to the node (hostPath) stays.
func (d Dir) Remove(uid string) error {
	if d.Root == "" {
		return nil
	}
	if err := checkUID(uid); err != nil {
		return err
	}
	pod := filepath.Join(d.Root, uid)
	entries, err := os.ReadDir(pod)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(pod, e.Name())
		for isMount(path) {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount volume %q: %w", e.Name(), err)
			}
		}
	}
	if err := os.RemoveAll(pod); err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	return nil
}

// Purge removes the volumes of every pod, when a node is given up for good.
func (d Dir) Purge() error {
	uids, err := d.Pods()
	if err != nil {
		return err
	}
	for _, uid := range uids {
		err = errors.Join(err, d.Remove(uid))
	}
	return err
}

// Pods lists the uids of the pods that have volumes here.
func (d Dir) Pods() ([]string, error) {
	if d.Root == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(d.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, nil
}
