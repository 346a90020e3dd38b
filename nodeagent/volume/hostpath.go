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
	switch {
	case errors.Is(err, fs.ErrNotExist) && v.Type == corev1.HostPathDirectoryOrCreate:
		return os.MkdirAll(v.Path, dirMode)
	case errors.Is(err, fs.ErrNotExist) && v.Type == corev1.HostPathFileOrCreate:
		return os.WriteFile(v.Path, nil, 0o644) //nolint:gosec // as Kubernetes makes it
	case errors.Is(err, fs.ErrNotExist) && v.Type == corev1.HostPathUnset:
		return os.MkdirAll(v.Path, dirMode)
	case err != nil:
		return err
	}
	ok := true
	switch mode := st.Mode(); v.Type {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		ok = mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		ok = mode.IsRegular()
	case corev1.HostPathSocket:
		ok = mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		ok = mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		ok = mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	if !ok {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", v.Path, strings.TrimSuffix(string(v.Type), "OrCreate"))
	}
	return nil
}
