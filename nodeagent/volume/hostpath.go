package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// hostPath checks a path of the node, or makes it, as its type asks.
func hostPath(v Volume) error {
	st, err := os.Stat(v.Path)
	if errors.Is(err, fs.ErrNotExist) {
		switch v.Type {
		case corev1.HostPathDirectoryOrCreate, corev1.HostPathUnset:
			return os.MkdirAll(v.Path, dirMode)
		case corev1.HostPathFileOrCreate:
			return os.WriteFile(v.Path, nil, 0o644) //nolint:gosec // as Kubernetes makes it
		}
	}
	if err != nil {
		return err
	}
	if !fits(st.Mode(), v.Type) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", v.Path, strings.TrimSuffix(string(v.Type), "OrCreate"))
	}
	return nil
}

// fits reports whether a file is of the type that is asked for.
func fits(mode fs.FileMode, t corev1.HostPathType) bool {
	switch t {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	default:
		return true
	}
}
