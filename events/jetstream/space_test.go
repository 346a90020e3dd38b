package jetstream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"periplus.dev/events"
)

// smallDiskDir names the directory on which this binary, run again in a mount
// namespace of its own, is to mount a small disk.
const smallDiskDir = "PERIPLUS_TEST_SMALL_DISK"

const smallDisk = 24 << 20

// onSmallDisk runs a test again in a process that has a disk of its own, which
// is gone with the process, however that ends. It returns false to the test that
// only started the other.
func onSmallDisk(t *testing.T) (dir string, inside bool) {
	t.Helper()
	if dir = os.Getenv(smallDiskDir); dir != "" {
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", smallDisk)))
		return dir, true
	}
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1", "-test.v")
	child.Env = append(os.Environ(), smallDiskDir+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := child.CombinedOutput()
	switch {
	case errors.Is(err, unix.EPERM):
		t.Skip("this root may not make a mount namespace")
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("%v\n%s", err, out)
	}
	return "", false
}

// fill takes what is left of the disk, but so much, and returns how to give it back.
func fill(t *testing.T, dir string, leave int64) (empty func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	var fs unix.Statfs_t
	must(t, unix.Statfs(dir, &fs))
	must(t, unix.Fallocate(int(f.Fd()), 0, 0, max(int64(fs.Bavail)*fs.Bsize-leave, 1)))
	for began := time.Now(); time.Since(began) < 2*plenty; {
		runtime.Gosched() // until the log looks at the disk again
	}
	return func() { must(t, os.Remove(path)) }
}

// said is a logger that closes a channel when a message is logged.
func said(message string) (*zap.Logger, *observer.ObservedLogs, <-chan struct{}) {
	core, logs := observer.New(zap.InfoLevel)
	heard := make(chan struct{})
	return zap.New(core, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == message {
			select {
			case <-heard:
			default:
				close(heard)
			}
		}
		return nil
	})), logs, heard
}

// count reads the log from its start and returns the number of its events.
func count(t *testing.T, l *Log) (n uint64) {
	t.Helper()
	head, err := l.Head(t.Context())
	must(t, err)
	if head == 0 {
		return 0
	}
	err = l.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error {
		if n++; e.Seq == head {
			return errStop
		}
		return nil
	})
	if !errors.Is(err, errStop) {
		t.Fatalf("read: %v", err)
	}
	return n
}

// TestDiskFull: changes are refused before the disk is full, reads go on, and
// with room on the disk changes are taken again.
func TestDiskFull(t *testing.T) {
	dir, inside := onSmallDisk(t)
	if !inside {
		return
	}
	logger, logs, _ := said("")
	_, l := openAt(t, Config{Dir: filepath.Join(dir, "log"), Reserve: 4 << 20, Logger: logger})
	r := &rig{t: t, Log: l}
	r.must(r.propose("before", events.FactCreated, 0))
	empty := fill(t, dir, 3<<20)
	p := r.propose("a", events.FactCreated, 0)
	for _, ps := range [][]events.Proposal{{p}, {p, r.propose("b", events.FactCreated, 0)}} {
		_, err := l.Append(t.Context(), ps...)
		if !errors.Is(err, events.ErrTemporary) || !strings.Contains(err.Error(), "the disk is full, changes are refused until there is room") {
			t.Errorf("append of %d: %v, want %v", len(ps), err, events.ErrTemporary)
		}
	}
	if n := count(t, l); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	empty()
	if seq := r.must(p); seq != 2 {
		t.Errorf("afterwards: %d, want 2", seq)
	}
	for _, message := range []string{"the disk is full, changes are refused", "there is room on the disk again, changes are taken"} {
		if n := logs.FilterMessage(message).Len(); n != 1 {
			t.Errorf("%q was said %d times, want once", message, n)
		}
	}
}

// TestWriteFails: when somebody else takes the last byte, a write fails and the
// NATS server never writes again. Changes are then refused, reads go on, nothing
// that was acknowledged is lost, and with room on the disk all is well again.
func TestWriteFails(t *testing.T) {
	dir, inside := onSmallDisk(t)
	if !inside {
		return
	}
	logger, _, broken := said("the log cannot be written, changes are refused")
	again := make(chan struct{})
	logger = logger.WithOptions(zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "the log takes changes again" {
			close(again)
		}
		return nil
	}))
	_, l := openAt(t, Config{Dir: filepath.Join(dir, "log"), Reserve: 100 << 10, Logger: logger})
	r := &rig{t: t, Log: l}
	feed, err := OpenFeed(t.Context(), l.conn, FeedConfig{})
	must(t, err)
	item := events.FeedItem{Kind: events.FeedPods, UID: "u", Seq: 1}
	must(t, feed.Put(t.Context(), "n1", item))
	empty := fill(t, dir, 1<<20)
	l.conn.server.space.reserve = 0 // the guard does not see it coming
	acknowledged := uint64(0)
	var lost events.Proposal
	for {
		p := r.propose(fmt.Sprint("c", acknowledged), events.FactCreated, 0)
		p.Data = fmt.Appendf(nil, `{"filler":%q}`, strings.Repeat("x", 100<<10))
		seqs, err := l.Append(t.Context(), p)
		if err != nil {
			if errors.Is(err, events.ErrConflict) {
				t.Errorf("append on a full disk: %v", err)
			}
			lost = p
			break
		}
		acknowledged = seqs[0]
	}
	<-broken
	if acknowledged == 0 {
		t.Error("nothing was acknowledged before the disk was full")
	}
	if _, err := l.Append(t.Context(), lost); !errors.Is(err, events.ErrTemporary) || !strings.Contains(err.Error(), "until its disk works again") {
		t.Errorf("append on a broken log: %v, want %v", err, events.ErrTemporary)
	}
	if n := count(t, l); n != acknowledged {
		t.Errorf("%d events can be read, want %d", n, acknowledged)
	}
	l.conn.server.space.reserve = 8 << 20
	empty()
	<-again
	for seqs, err := l.Append(t.Context(), lost); ; seqs, err = l.Append(t.Context(), lost) {
		if err == nil && seqs[0] != acknowledged+1 || errors.Is(err, events.ErrConflict) {
			t.Fatalf("appended as %v, %v; want %d", seqs, err, acknowledged+1)
		}
		if err == nil {
			break
		}
		connected(l.conn) // this connection, or the next
	}
	if err := feed.Put(t.Context(), "n1", item); err == nil {
		t.Error("the feed was emptied, and its writer was not told")
	}
	if err := feed.Put(t.Context(), "n1", item); err != nil {
		t.Errorf("the feed is not there again: %v", err)
	}
	if n := count(t, l); n != acknowledged+1 {
		t.Errorf("%d events afterwards, want %d", n, acknowledged+1)
	}
}

// connected waits until there is a connection.
func connected(c *Conn) {
	for !c.nc.IsConnected() {
		status := c.nc.StatusChanged(nats.CONNECTED)
		if c.nc.IsConnected() {
			return
		}
		<-status
	}
}
