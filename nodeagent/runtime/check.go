package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// ContainerID is the id of one attempt of a container, the same in every
// realisation.
func ContainerID(podUID, name string, attempt int) string {
	sum := sha256.Sum256([]byte(podUID + "/" + name + "/" + strconv.Itoa(attempt)))
	return hex.EncodeToString(sum[:])
}

// plain is what may become part of a path, an id or a label: what Kubernetes
// allows in UIDs and names, and nothing that means anything to a file system.
var plain = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)

// Check says whether the pod's names can be used for files; it wraps ErrInvalid.
func (p Pod) Check() error {
	switch {
	case !plain.MatchString(p.UID):
		return fmt.Errorf("%w: pod uid %q", ErrInvalid, p.UID)
	case !plain.MatchString(p.Namespace):
		return fmt.Errorf("%w: pod namespace %q", ErrInvalid, p.Namespace)
	case !plain.MatchString(p.Name):
		return fmt.Errorf("%w: pod name %q", ErrInvalid, p.Name)
	}
	return nil
}

// Check says whether a container can be made of the spec as far as one can know
// without asking a machine. The error is an [*Error] that wraps ErrInvalid.
func (s ContainerSpec) Check() error {
	if err := s.Pod.Check(); err != nil {
		return &Error{Reason: ReasonConfig, Message: err.Error(), Err: ErrInvalid}
	}
	fail := func(format string, args ...any) error {
		return &Error{Reason: ReasonConfig, Message: fmt.Sprintf(format, args...), Err: ErrInvalid}
	}
	switch {
	case !plain.MatchString(s.Name):
		return fail("container name %q", s.Name)
	case s.Attempt < 0:
		return fail("attempt %d", s.Attempt)
	case s.Resources.negative():
		return fail("negative resources")
	case s.WorkingDir != "" && !strings.HasPrefix(s.WorkingDir, "/"):
		return fail("working directory %q is not absolute", s.WorkingDir)
	}
	for _, v := range s.Env {
		if name, _, ok := strings.Cut(v, "="); !ok || name == "" || strings.ContainsRune(v, 0) {
			return fail("environment variable %q", v)
		}
	}
	for _, m := range s.Mounts {
		if !strings.HasPrefix(m.HostPath, "/") || !strings.HasPrefix(m.ContainerPath, "/") {
			return fail("mount of %q at %q: paths have to be absolute", m.HostPath, m.ContainerPath)
		}
	}
	return nil
}

func (r Resources) negative() bool {
	return r.CPULimitMillis < 0 || r.CPURequestMillis < 0 || r.MemoryLimitBytes < 0
}
