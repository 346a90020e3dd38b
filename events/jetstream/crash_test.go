package jetstream_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"periplus.dev/events"
	"periplus.dev/events/jetstream"
)

// childDir names the directory in which this binary, run again, is a writer that
// is to be killed.
const childDir = "PERIPLUS_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// acked is a line that the child prints when an append was acknowledged.
type acked struct {
	Seq   uint64 `json:"seq"`
	ID    string `json:"id"`
	After uint64 `json:"after"`
}

// created is a person's fact about a config map.
func created(name, fact string, after uint64) events.Proposal {
	id := uuid.NewString()
	k := events.Key{Resource: "configmaps", Namespace: "default", Name: name}
	p := events.New(k.Wanted(), after, events.TypeOf("configmap", fact), events.Ref{Change: id}, events.State{UID: name, Previous: after})
	p.ID, p.Source, p.Actor, p.Time = id, events.DoorSource, "user:alice", time.Now()
	return p
}

// writeUntilKilled runs a server and eight writers. Every second writer changes
// three objects at once.
func writeUntilKilled(dir string) error {
	ctx := context.Background()
	s, err := jetstream.Start(ctx, jetstream.Config{Dir: dir})
	if err != nil {
		return err
	}
	conn, err := s.Connect()
	if err != nil {
		return err
	}
	l, err := jetstream.Open(ctx, conn, jetstream.LogConfig{JoinFrom: 4})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	out := json.NewEncoder(os.Stdout)
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			last := make([]uint64, 1+2*(w%2))
			for {
				var ps []events.Proposal
				for i, after := range last {
					fact := events.FactDataChanged
					if after == 0 {
						fact = events.FactCreated
					}
					ps = append(ps, created(fmt.Sprintf("w%d-%d", w, i), fact, after))
				}
				seqs, err := l.Append(ctx, ps...)
				if err != nil {
					return err
				}
				copy(last, seqs)
				mu.Lock()
				for i, p := range ps {
					if err = out.Encode(acked{Seq: seqs[i], ID: p.ID, After: p.After}); err != nil {
						break
					}
				}
				mu.Unlock()
				if err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// TestKilledServerKeepsWhatItAcknowledged kills a writing process without warning
// and looks for everything that it had been told.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	told := writeAndKill(t, dir, 400)
	s := start(t, jetstream.Config{Dir: dir})
	l := open(t, s, jetstream.LogConfig{})
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]acked{}
	for _, a := range told {
		r, ok, err := l.At(t.Context(), a.Seq)
		if err != nil || !ok || r.ID != a.ID {
			t.Fatalf("event %s was acknowledged at %d of %d; there is %q, %v, %v", a.ID, a.Seq, head, r.ID, ok, err)
		}
		byID[a.ID] = a
	}
	last, next := map[events.Subject]uint64{}, uint64(1)
	err = l.Read(t.Context(), 1, func(r events.Recorded, _ uint64) error {
		if r.Seq != next {
			return fmt.Errorf("sequence %d in place %d", r.Seq, next)
		}
		next++
		if a, ok := byID[r.ID]; ok && a.After != last[r.Subject] {
			return fmt.Errorf("event %d was to follow %d, and follows %d", r.Seq, a.After, last[r.Subject])
		}
		last[r.Subject] = r.Seq
		if r.Seq == head {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		t.Fatalf("read: %v", err)
	}
	t.Logf("%d events acknowledged before the kill, %d found", len(told), head)
	if _, err := l.Append(t.Context(), created("afterwards", events.FactCreated, 0)); err != nil {
		t.Errorf("append after the crash: %v", err)
	}
}

// writeAndKill runs the child until it has told of so many events, and returns
// all that it told before it died.
func writeAndKill(t *testing.T, dir string, enough int) []acked {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var told []acked
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var a acked
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			break // the line that was being written
		}
		if told = append(told, a); len(told) == enough {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil || len(told) < enough {
		t.Fatalf("child ended with %v after %d events", err, len(told))
	}
	return told
}
