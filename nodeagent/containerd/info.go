package containerd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"periplus.dev/nodeagent/runtime"
)

// Info implements [runtime.Runtime].
func (r *Runtime) Info(ctx context.Context) (runtime.Info, error) {
	info, err := r.info(ctx)
	if err != nil {
		return runtime.Info{}, fmt.Errorf("describe node: %w", err)
	}
	return info, nil
}

func (r *Runtime) info(ctx context.Context) (runtime.Info, error) {
	version, err := r.client.Version(ctx)
	if err != nil {
		return runtime.Info{}, asTemporary(err)
	}
	var name unix.Utsname
	var disk unix.Statfs_t
	hostname, err := os.Hostname()
	err = errors.Join(err, unix.Uname(&name), unix.Statfs(r.config.Dir, &disk))
	memory, memErr := memoryBytes()
	addresses, addrErr := r.addresses()
	if err := errors.Join(err, memErr, addrErr); err != nil {
		return runtime.Info{}, err
	}
	return runtime.Info{
		Runtime: "containerd", RuntimeVersion: strings.SplitN(version.Version, "~", 2)[0], Hostname: hostname,
		KernelVersion: unix.ByteSliceToString(name.Release[:]), OSImage: osImage(),
		OperatingSystem: goruntime.GOOS, Architecture: goruntime.GOARCH,
		MachineID: firstLine("/etc/machine-id"), BootID: firstLine("/proc/sys/kernel/random/boot_id"),
		CPUMillis: int64(goruntime.NumCPU()) * 1000, MemoryBytes: memory,
		StorageBytes: int64(disk.Blocks) * disk.Bsize,
		MaxPods:      r.config.MaxPods, PodCIDR: r.config.PodCIDR.Masked().String(), Addresses: addresses,
	}, nil
}

// addresses of the node: first the one that its pods know it by, then those of
// its interfaces that have a global one.
func (r *Runtime) addresses() ([]string, error) {
	gateway := r.network.Gateway().String()
	out := []string{gateway}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		prefix, ok := a.(*net.IPNet)
		if ok && prefix.IP.IsGlobalUnicast() && prefix.IP.To4() != nil && prefix.IP.String() != gateway {
			out = append(out, prefix.IP.String())
		}
	}
	return out, nil
}

// memoryBytes is how much memory the machine has.
func memoryBytes() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo does not say how much memory there is")
}

// osImage is how the operating system calls itself.
func osImage() string {
	content, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(content)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// firstLine of a file, empty if it cannot be read.
func firstLine(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.SplitN(string(content), "\n", 2)[0])
}
