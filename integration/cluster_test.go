package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
	"sigs.k8s.io/yaml"

	"periplus.dev/events/memlog"
	"periplus.dev/internal/cluster"
	"periplus.dev/nodeagent/fakeruntime"
)

// world is what a story happens in: a cluster that can be started and stopped.
type world interface {
	// up starts the cluster, and returns when it is ready.
	up(ctx context.Context) error
	// down stops it; purge removes all that it has and runs as well.
	down(ctx context.Context, purge bool) error
	// kubeconfig is the path of the administrator's.
	kubeconfig() string
}

// upTimeout and downTimeout bound a start and a stop on a busy machine.
const (
	upTimeout   = 2 * time.Minute
	downTimeout = 2 * time.Minute
)

// somebody is an ordinary user: nobody of the host may be meant by the number.
const somebody = 65534

// binary is a cluster run by the program that people run.
type binary struct {
	dir      string   // data directory; the folder it is in belongs to whoever runs it
	flags    []string // of up, beside the data directory
	ordinary bool     // run by an ordinary user
}

// newHollow makes a folder for a cluster of three hollow nodes that an ordinary
// user runs.
func newHollow() (*binary, error) {
	b := &binary{flags: []string{"--hollow-nodes", "3", "--api-listen", "127.0.0.1:0"}, ordinary: true}
	return b, b.makeDir("hollow")
}

// newReal makes a folder for a cluster of one real node. Its name and addresses
// are not those of a cluster that somebody runs on this machine.
func newReal(name string, addresses netip.Prefix, mirror string) (*binary, error) {
	b := &binary{}
	if err := b.makeDir("real"); err != nil {
		return nil, err
	}
	settings, err := yaml.Marshal(map[string]any{
		"apiListen": "127.0.0.1:0", "nodeName": name, "podCIDR": addresses.String(),
		"registryMirrors": map[string][]string{"docker.io": {mirror}, "periplus.example": {mirror}},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(filepath.Dir(b.dir), "settings.yaml")
	b.flags = []string{"--config", file}
	return b, os.WriteFile(file, settings, 0o600)
}

func (b *binary) makeDir(name string) error {
	dir, err := os.MkdirTemp(given.top, name+"-")
	if err == nil && b.ordinary && os.Geteuid() == 0 {
		err = os.Chown(dir, somebody, somebody)
	}
	b.dir = filepath.Join(dir, "data")
	return err
}

func (b *binary) kubeconfig() string { return filepath.Join(b.dir, "kubeconfig") }

func (b *binary) up(ctx context.Context) error {
	return b.periplus(ctx, upTimeout, append([]string{"up", "--detach", "--data-dir", b.dir}, b.flags...)...)
}

func (b *binary) down(ctx context.Context, purge bool) error {
	args := []string{"down", "--data-dir", b.dir}
	if purge {
		args = append(args, "--purge")
	}
	return b.periplus(ctx, downTimeout, args...)
}

// end removes the cluster whatever state it is in. What does not go by itself is
// ended by force, and that is an error.
func (b *binary) end(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(b.dir, "periplus.pid")); errors.Is(err, os.ErrNotExist) {
		return nil // never started, or purged
	}
	err := b.down(ctx, true)
	if err != nil {
		err = errors.Join(err, b.logEnd(), ignoreGone(b.kill(ctx)), b.down(ctx, true))
	}
	return err
}

// kill ends the process as a loss of power would, and waits until it is gone.
func (b *binary) kill(ctx context.Context) error {
	pid, err := b.pid()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process %d: %w", pid, err)
	}
	return until(ctx, downTimeout, func() (bool, error) {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || isZombie(pid), nil
	})
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, strconv.ErrSyntax) {
		return nil
	}
	return err
}

// pid is the process that runs the cluster.
func (b *binary) pid() (int, error) {
	content, err := os.ReadFile(filepath.Join(b.dir, "periplus.pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(content)))
}

// isZombie reports whether a process has ended and nobody has asked how.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return err != nil || bytes.HasPrefix(rest, []byte("Z"))
}

// periplus runs the program as whoever runs the cluster.
func (b *binary) periplus(ctx context.Context, timeout time.Duration, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, given.periplus, args...)
	cmd.Dir = filepath.Dir(b.dir)
	if b.ordinary {
		becomeOrdinary(cmd, cmd.Dir)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("periplus %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// logEnd is the end of the cluster's log, as an error, for a test that fails.
func (b *binary) logEnd() error {
	const enough = 4 << 10
	content, err := os.ReadFile(filepath.Join(b.dir, "periplus.log"))
	if err != nil {
		return nil //nolint:nilerr // there is nothing to show
	}
	return fmt.Errorf("the log ends with: %s", content[max(0, len(content)-enough):])
}

// becomeOrdinary lets a command run as somebody without any right, if we have any,
// and with the little that such a user's environment has.
func becomeOrdinary(cmd *exec.Cmd, home string) {
	cmd.Env = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "TMPDIR=" + home}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	}
}

// inMemory is a cluster of three hollow nodes in this process, on a log in memory.
type inMemory struct {
	dir  string
	stop context.CancelFunc
	done chan error
}

func newInMemory() (*inMemory, error) {
	dir, err := os.MkdirTemp(given.top, "memory-")
	return &inMemory{dir: dir}, err
}

func (m *inMemory) kubeconfig() string { return filepath.Join(m.dir, "kubeconfig") }

func (m *inMemory) up(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	logger, err := m.logger()
	if err != nil {
		return err
	}
	conf := cluster.Config{
		Dir: m.dir, Log: memlog.New(memlog.Config{}), Leases: memlog.New(memlog.Config{}), Feed: &memlog.Feed{},
		Listener: listener, Version: "test", Now: time.Now, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }, Logger: logger,
	}
	for i := range 3 {
		name, prefix := fmt.Sprintf("hollow-%d", i+1), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, byte(i), 0}), 24)
		rt, err := fakeruntime.New(fakeruntime.Config{NodeName: name, PodCIDR: prefix})
		if err != nil {
			return err
		}
		conf.Nodes = append(conf.Nodes, cluster.Node{Name: name, Runtime: rt, PodCIDR: prefix.String(), Addresses: []string{"127.0.0.1"}})
	}
	c, err := cluster.New(conf)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	if err := c.WriteKubeconfig(m.kubeconfig()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return m.run(ctx, c)
}

func (m *inMemory) logger() (*zap.Logger, error) {
	conf := zap.NewProductionConfig()
	conf.OutputPaths = []string{filepath.Join(m.dir, "periplus.log")}
	return conf.Build()
}

func (m *inMemory) run(ctx context.Context, c *cluster.Cluster) error {
	var life context.Context
	life, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.done = make(chan error, 1)
	ready := make(chan struct{})
	go func() { m.done <- c.Run(life, func() { close(ready) }) }()
	select {
	case <-ready:
		return nil
	case err := <-m.done:
		m.stop()
		m.stop = nil
		return fmt.Errorf("run cluster: %w", err)
	case <-time.After(upTimeout):
		return errors.Join(errors.New("the cluster is not ready in time"), m.end(ctx))
	}
}

func (m *inMemory) down(ctx context.Context, _ bool) error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	m.stop = nil
	select {
	case err := <-m.done:
		return err
	case <-time.After(downTimeout):
		return errors.New("the cluster does not stop in time")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *inMemory) end(ctx context.Context) error { return m.down(ctx, true) }
