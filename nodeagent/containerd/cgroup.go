package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the kernel's groups are: one hierarchy for each controller
// below it (v1), or one for all (v2).
const cgroupRoot = "/sys/fs/cgroup"

// oomKills is how many processes of a group were killed because its memory ran
// out; 0 if that cannot be found out.
func oomKills(path string) int {
	for _, file := range []string{
		filepath.Join(cgroupRoot, "memory", path, "memory.oom_control"), // v1
		filepath.Join(cgroupRoot, path, "memory.events"),                // v2
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(content)) {
			if number, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				n, _ := strconv.Atoi(number)
				return n
			}
		}
	}
	return 0
}

// removeCgroups removes a group and the groups in it from every hierarchy. runc
// removes only the innermost. One that is not there is no error.
func removeCgroups(path string) error {
	roots, err := hierarchies()
	if err != nil {
		return fmt.Errorf("remove cgroups: %w", err)
	}
	var errs []error
	for _, root := range roots {
		errs = append(errs, removeGroup(filepath.Join(root, path)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove cgroups: %w", err)
	}
	return nil
}

// removeUnused removes a group that others may share, where nothing is in it.
func removeUnused(path string) error {
	roots, err := hierarchies()
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	var errs []error
	for _, root := range roots {
		err := unix.Rmdir(filepath.Join(root, path))
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, fmt.Errorf("remove cgroup %s in %s: %w", path, root, err))
		}
	}
	return errors.Join(errs...)
}

// hierarchies lists the folders in which a group can be.
func hierarchies() ([]string, error) {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	roots := []string{cgroupRoot}
	for _, e := range entries {
		if e.IsDir() { // not the links to hierarchies of several controllers
			roots = append(roots, filepath.Join(cgroupRoot, e.Name()))
		}
	}
	return roots, nil
}

// removeGroup removes one folder of groups, the innermost first.
func removeGroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove %s: %w", d, err)
		}
	}
	return nil
}

// unmountBelow lets go of everything that is mounted below a folder.
func unmountBelow(dir string) error {
	content, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	var points []string
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	var errs []error
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}
