package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// findLeftovers lists what is on this machine that a test may have made: processes
// that run from our folder or speak of it, mounts below it, interfaces and cgroups
// of our nodes.
func findLeftovers(top string) []string {
	out := slices.Concat(processes(top), mounts(top), interfaces(), cgroups())
	slices.Sort(out)
	return out
}

// since lists what is in after and was not before.
func since(before, after []string) []string {
	return slices.DeleteFunc(slices.Clone(after), func(l string) bool { return slices.Contains(before, l) })
}

func processes(top string) []string {
	var out []string
	entries, _ := os.ReadDir("/proc") // without it nothing can be known
	for _, e := range entries {
		dir := filepath.Join("/proc", e.Name())
		program, err := os.Readlink(filepath.Join(dir, "exe"))
		if err != nil || e.Name() == fmt.Sprint(os.Getpid()) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		text := strings.ReplaceAll(string(line), "\x00", " ")
		if strings.HasPrefix(program, top+"/") || strings.Contains(text, top+"/") {
			out = append(out, fmt.Sprintf("process %s: %s", e.Name(), text))
		}
	}
	return out
}

func mounts(top string) []string {
	var out []string
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], top+"/") {
			out = append(out, "mount "+fields[4])
		}
	}
	return out
}

// interfaces lists the pods' ends on the host, by the mark that says whose they are.
func interfaces() []string {
	var out []string
	links, _ := netlink.LinkList()
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Alias, "periplus/"+nodePrefix) {
			out = append(out, "interface "+l.Attrs().Name+" "+l.Attrs().Alias)
		}
	}
	addresses, _ := netlink.AddrList(nil, netlink.FAMILY_V4)
	for _, a := range addresses {
		if nodeAddresses.Contains(addressOf(a)) {
			out = append(out, "address "+a.IPNet.String())
		}
	}
	return out
}

func cgroups() []string {
	var out []string
	for _, pattern := range []string{"/sys/fs/cgroup/periplus/" + nodePrefix + "*", "/sys/fs/cgroup/*/periplus/" + nodePrefix + "*"} {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			out = append(out, "cgroup "+dir)
		}
	}
	return out
}
