package containerd

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	client "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"periplus.dev/nodeagent/network"
	"periplus.dev/nodeagent/runtime"
)

// shimGroup is the annotation by which containers of a pod share a shim.
const shimGroup = "io.containerd.runc.v2.group"

// What the kernel takes for shares and quotas of processor time.
const (
	sharesPerCore = 1024
	leastShares   = 2
	quotaPeriod   = 100_000 // microseconds
	leastQuota    = 1_000
)

// specOf says what runc is to make of a container. The order matters: what the
// image says comes before what the pod says, and who the user is before what the
// user may do.
func (r *Runtime) specOf(ctx context.Context, s *sandbox, id string, img client.Image, spec runtime.ContainerSpec) ([]oci.SpecOpts, error) {
	args, err := processArgs(ctx, img, spec)
	if err != nil {
		return nil, err
	}
	mounts, err := mountsOf(s, spec)
	if err != nil {
		return nil, err
	}
	opts := []oci.SpecOpts{
		oci.WithDefaultUnixDevices, oci.WithoutRunMount,
		oci.WithImageConfig(img), oci.WithProcessArgs(args...),
		oci.WithEnv(append([]string{"HOSTNAME=" + s.Hostname}, spec.Env...)),
		oci.WithCgroup(r.containerCgroup(spec.Pod.UID, id)),
		oci.WithAnnotations(map[string]string{shimGroup: spec.Pod.UID}),
	}
	if spec.WorkingDir != "" {
		opts = append(opts, oci.WithProcessCwd(spec.WorkingDir))
	}
	if spec.TTY {
		opts = append(opts, oci.WithTTY)
	}
	opts = append(opts, namespaceOpts(s)...)
	opts = append(opts, userOpts(spec.Security)...)
	opts = append(opts, resourceOpts(spec.Resources)...)
	opts = append(opts, oci.WithMounts(mounts))
	return append(opts, securityOpts(spec.Security)...), nil
}

// processArgs applies the rule of Kubernetes: a command replaces all that the
// image says, arguments alone replace only its arguments.
func processArgs(ctx context.Context, img client.Image, spec runtime.ContainerSpec) ([]string, error) {
	image, err := img.Spec(ctx)
	if err != nil {
		return nil, named(runtime.ReasonCreate, fmt.Errorf("read config of image: %w", err))
	}
	var args []string
	switch {
	case len(spec.Command) > 0:
		args = slices.Concat(spec.Command, spec.Args)
	case len(spec.Args) > 0:
		args = slices.Concat(image.Config.Entrypoint, spec.Args)
	default:
		args = slices.Concat(image.Config.Entrypoint, image.Config.Cmd)
	}
	if len(args) == 0 {
		return nil, &runtime.Error{Reason: runtime.ReasonConfig, Message: "neither the image nor the pod names a command", Err: runtime.ErrInvalid}
	}
	return args, nil
}

// namespaceOpts joins the pod's namespaces. On the node's network a container has
// the node's name as well.
func namespaceOpts(s *sandbox) []oci.SpecOpts {
	join := func(kind specs.LinuxNamespaceType, space string) oci.SpecOpts {
		return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: kind, Path: network.Path(s.namespaces(), space)})
	}
	opts := []oci.SpecOpts{join(specs.IPCNamespace, "ipc")}
	if s.HostNetwork {
		return append(opts, oci.WithHostNamespace(specs.NetworkNamespace), oci.WithHostNamespace(specs.UTSNamespace))
	}
	return append(opts, join(specs.NetworkNamespace, "net"), join(specs.UTSNamespace, "uts"))
}

// userOpts says as whom the container runs.
func userOpts(s runtime.Security) []oci.SpecOpts {
	var opts []oci.SpecOpts
	if s.RunAsUser != nil {
		uid := clampID(*s.RunAsUser)
		opts = append(opts, oci.WithUserID(uid), oci.WithAdditionalGIDs(fmt.Sprint(uid)))
	}
	return append(opts, edit(func(spec *oci.Spec) error {
		user := &spec.Process.User
		if s.RunAsGroup != nil {
			user.GID = clampID(*s.RunAsGroup)
		}
		for _, gid := range s.SupplementalGroups {
			if gid := clampID(gid); !slices.Contains(user.AdditionalGids, gid) {
				user.AdditionalGids = append(user.AdditionalGids, gid)
			}
		}
		if s.RunAsNonRoot && user.UID == 0 {
			return &runtime.Error{Reason: runtime.ReasonConfig, Message: "container has runAsNonRoot and would run as user 0", Err: runtime.ErrInvalid}
		}
		return nil
	}))
}

// clampID is a user's or group's number as the kernel has it; the API refuses
// others.
func clampID(n int64) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }

// edit makes an option of a function that changes a spec whose process is set.
func edit(f func(*oci.Spec) error) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process = cmp.Or(s.Process, &specs.Process{})
		return f(s)
	}
}

func resourceOpts(r runtime.Resources) []oci.SpecOpts {
	shares := max(leastShares, r.CPURequestMillis*sharesPerCore/1000)
	opts := []oci.SpecOpts{oci.WithCPUShares(uint64(shares))}
	if r.CPULimitMillis > 0 {
		opts = append(opts, oci.WithCPUCFS(max(leastQuota, r.CPULimitMillis*quotaPeriod/1000), quotaPeriod))
	}
	if r.MemoryLimitBytes > 0 {
		opts = append(opts, oci.WithMemoryLimit(uint64(r.MemoryLimitBytes)))
	}
	return opts
}

// securityOpts says what the container may do.
func securityOpts(s runtime.Security) []oci.SpecOpts {
	var opts []oci.SpecOpts
	if s.ReadOnlyRoot {
		opts = append(opts, oci.WithRootFSReadonly())
	}
	if s.Privileged {
		return append(opts, oci.WithPrivileged, oci.WithAllDevicesAllowed, oci.WithHostDevices, oci.WithNewPrivileges)
	}
	if slices.Contains(s.DropCapabilities, "ALL") {
		opts = append(opts, oci.WithCapabilities(nil))
	} else if len(s.DropCapabilities) > 0 {
		opts = append(opts, oci.WithDroppedCapabilities(capabilities(s.DropCapabilities)))
	}
	if slices.Contains(s.AddCapabilities, "ALL") {
		opts = append(opts, oci.WithAllCurrentCapabilities)
	} else if len(s.AddCapabilities) > 0 {
		opts = append(opts, oci.WithAddedCapabilities(capabilities(s.AddCapabilities)))
	}
	if !s.NoPrivilegeGain {
		opts = append(opts, oci.WithNewPrivileges)
	}
	return append(opts, seccomp.WithDefaultProfile()) // last: it depends on the capabilities
}

// capabilities gives names the form that the kernel's have.
func capabilities(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "CAP_" + strings.TrimPrefix(strings.ToUpper(n), "CAP_")
	}
	return out
}

// mountsOf lists what is shown to a container beside its image: its own cgroup,
// the pod's files in /etc unless the pod brings others, and what the pod mounts,
// outer folders first.
func mountsOf(s *sandbox, spec runtime.ContainerSpec) ([]specs.Mount, error) {
	mounts := []specs.Mount{{
		Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup",
		Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"},
	}}
	taken := map[string]bool{}
	for _, m := range spec.Mounts {
		if _, err := os.Stat(m.HostPath); err != nil {
			return nil, &runtime.Error{Reason: runtime.ReasonConfig, Message: fmt.Sprintf("mount at %s: %v", m.ContainerPath, err), Err: err}
		}
		taken[filepath.Clean(m.ContainerPath)] = true
	}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		if to := "/etc/" + name; !taken[to] && !taken["/etc"] {
			mounts = append(mounts, bindMount(s.file("etc", name), to, false))
		}
	}
	own := slices.Clone(spec.Mounts)
	slices.SortStableFunc(own, func(a, b runtime.Mount) int {
		return cmp.Compare(strings.Count(filepath.Clean(a.ContainerPath), "/"), strings.Count(filepath.Clean(b.ContainerPath), "/"))
	})
	for _, m := range own {
		mounts = append(mounts, bindMount(m.HostPath, filepath.Clean(m.ContainerPath), m.ReadOnly))
	}
	return mounts, nil
}

func bindMount(from, to string, readOnly bool) specs.Mount {
	options := []string{"rbind", "rprivate", "rw"}
	if readOnly {
		options[2] = "ro"
	}
	return specs.Mount{Destination: to, Type: "bind", Source: from, Options: options}
}
