package jetstream_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
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
const (
	childDir   = "PERIPLUS_TEST_CRASH_DIR"
	childRound = "PERIPLUS_TEST_CRASH_ROUND"
)

// batchSize is how many objects every second writer of the child changes at once.
const batchSize = 3

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// acked is a line that the child prints when an append was acknowledged.
type acked struct {
	Seq uint64 `json:"seq"`
	ID  string `json:"id"`
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
			last := make([]uint64, 1+(batchSize-1)*(w%2))
			for {
				var ps []events.Proposal
				for i, after := range last {
					fact := events.FactDataChanged
					if after == 0 {
						fact = events.FactCreated
					}
					ps = append(ps, created(fmt.Sprintf("r%s-w%d-%d", os.Getenv(childRound), w, i), fact, after))
				}
				for i := range ps {
					if len(ps) > 1 {
						ps[i].Reason = ps[0].ID // names the batch
					}
				}
				seqs, err := l.Append(ctx, ps...)
				if err != nil {
					return err
				}
				copy(last, seqs)
				mu.Lock()
				for i, p := range ps {
					if err = out.Encode(acked{Seq: seqs[i], ID: p.ID}); err != nil {
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

// TestKilledServerKeepsWhatItAcknowledged kills a writing process without warning,
// three times on the same directory, and looks each time for everything that it
// had been told since the first.
func TestKilledServerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	told := map[string]acked{}
	for round := range 3 {
		for _, a := range writeAndKill(t, dir, round, 400) {
			told[a.ID] = a
		}
		s := start(t, jetstream.Config{Dir: dir})
		l := open(t, s, jetstream.LogConfig{})
		head := findAll(t, l, told)
		t.Logf("%d events acknowledged in %d rounds, %d found", len(told), round+1, head)
		p := created(fmt.Sprint("afterwards-", round), events.FactCreated, 0)
		seqs, err := l.Append(t.Context(), p)
		if err != nil || seqs[0] != head+1 {
			t.Errorf("append after the crash: %v, %v; want %d", seqs, err, head+1)
			continue
		}
		told[p.ID] = acked{Seq: seqs[0], ID: p.ID}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// findAll reads the whole log: every event in its place, each once, each behind
// the one that its author had seen, the batches whole, and all that was
// acknowledged where it was said to be. It returns the head.
func findAll(t *testing.T, l *jetstream.Log, told map[string]acked) uint64 {
	t.Helper()
	head, err := l.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, batches := map[string]uint64{}, map[string]int{}
	last, next := map[events.Subject]uint64{}, uint64(1)
	err = l.Read(t.Context(), 1, func(r events.Recorded, _ uint64) error {
		if r.Seq != next {
			return fmt.Errorf("sequence %d in place %d", r.Seq, next)
		}
		if found[r.ID] != 0 {
			return fmt.Errorf("event %s stands at %d and %d", r.ID, found[r.ID], r.Seq)
		}
		state, err := events.Decode[events.State](r)
		if err != nil {
			return err
		}
		if state.Previous != last[r.Subject] {
			return fmt.Errorf("event %d was to follow %d, and follows %d", r.Seq, state.Previous, last[r.Subject])
		}
		found[r.ID], last[r.Subject] = r.Seq, r.Seq
		if r.Reason != "" {
			batches[r.Reason]++
		}
		if next++; r.Seq == head {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		t.Fatalf("read: %v", err)
	}
	for id, a := range told {
		if found[id] != a.Seq {
			t.Fatalf("event %s was acknowledged at %d of %d and is at %d", id, a.Seq, head, found[id])
		}
	}
	for batch, n := range batches {
		if n != batchSize {
			t.Errorf("batch %s has %d events, want %d", batch, n, batchSize)
		}
	}
	return head
}

// writeAndKill runs the child until it has told of so many events, and returns
// all that it told before it died.
func writeAndKill(t *testing.T, dir string, round, enough int) []acked {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childRound+"="+strconv.Itoa(round))
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
