package snapshots_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/projections"
	"periplus.dev/snapshots"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// newLog is a log of n ConfigMaps that came to be one after the other; by sets
// the ids apart from those of another log.
func newLog(t *testing.T, by string, n int) *memlog.Log {
	t.Helper()
	log := memlog.New(memlog.Config{Now: func() time.Time { return noon }})
	for i := range n {
		name := fmt.Sprintf("c%d", i)
		p := projections.Created(events.Key{Resource: "configmaps", Namespace: "shop", Name: name}, events.TypeOf("configmap", events.FactCreated), events.Ref{},
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name)}})
		p.ID, p.Time, p.Source, p.Actor = fmt.Sprintf("%s-%d", by, i), noon, events.DoorSource, "user:alice"
		p.Change = p.ID
		if _, err := log.Append(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// worldAt folds the first n events.
func worldAt(t *testing.T, log *memlog.Log, n uint64) *projections.World {
	t.Helper()
	w := projections.Empty()
	enough := errors.New("enough")
	err := log.Read(t.Context(), 1, func(r events.Recorded, _ uint64) error {
		if w, _ = w.Fold(r); w.Seq() == n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return w
}

func open(t *testing.T, dir string) *snapshots.Store {
	t.Helper()
	s, err := snapshots.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func save(t *testing.T, s *snapshots.Store, worlds ...*projections.World) {
	t.Helper()
	for _, w := range worlds {
		if err := s.Save(w); err != nil {
			t.Fatal(err)
		}
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimLeft(strings.TrimSuffix(e.Name(), ".snap"), "0"))
	}
	return names
}

func fileOf(dir string, seq int) string { return filepath.Join(dir, fmt.Sprintf("%020d.snap", seq)) }

func edit(t *testing.T, file string, change func([]byte) []byte) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, change(raw), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// setHeader changes a field of a header and writes it as the store would.
func setHeader(raw []byte, old, next string) []byte {
	const size = 512
	head := strings.TrimRight(string(raw[:size]), " \n")
	changed := strings.Replace(head, old, next, 1)
	return append([]byte(changed+strings.Repeat(" ", size-1-len(changed))+"\n"), raw[size:]...)
}

// What speaks against the newer of two snapshots leads back to the older one, and
// is told; only one that the log falls short of is an error.
func TestBadSnapshots(t *testing.T) {
	log := newLog(t, "a", 10)
	foreign := newLog(t, "b", 10)
	tests := []struct {
		name string
		bad  func(raw []byte) []byte
		why  string
	}{
		{"nothing is wrong", func(raw []byte) []byte { return raw }, ""},
		{"a bit of the state is flipped", func(raw []byte) []byte { raw[len(raw)-40] ^= 4; return raw }, "it is damaged: "},
		{"a bit of the header is flipped", func(raw []byte) []byte { raw[60] ^= 1; return raw }, "it is damaged: "},
		{"a bit of the filling is flipped", func(raw []byte) []byte { raw[500] ^= 1; return raw }, "it is damaged: its header cannot be read"},
		{"the end is cut off", func(raw []byte) []byte { return raw[:len(raw)-1] }, "it is damaged: it has "},
		{"the state is cut off", func(raw []byte) []byte { return raw[:512] }, "it is damaged: it has 0 bytes of state"},
		{"the header is cut off", func(raw []byte) []byte { return raw[:100] }, "it is damaged: its header is cut off"},
		{"it is empty", func([]byte) []byte { return nil }, "it is damaged: its header is cut off"},
		{"there is more behind it", func(raw []byte) []byte { return append(raw, 0) }, "it is damaged: it has "},
		{"it is of zeros", func(raw []byte) []byte { return make([]byte, len(raw)) }, "it is damaged: its header cannot be read"},
		{"a newer format", func(raw []byte) []byte { return setHeader(raw, `"format":1`, `"format":2`) },
			"another version of this program wrote it: format 2, this one knows 1"},
		{"other folds", func(raw []byte) []byte {
			return setHeader(raw, fmt.Sprintf(`"foldVersion":%d`, projections.FoldVersion), `"foldVersion":999`)
		},
			fmt.Sprintf("another version of this program wrote it: folds of version 999, this one has %d", projections.FoldVersion)},
		{"another id at its sequence", func(raw []byte) []byte { return setHeader(raw, `"id":"a-7"`, `"id":"b-7"`) },
			"it is not of this log: event 8 has the id a-7 there, and b-7 here"},
		{"another sequence", func(raw []byte) []byte { return setHeader(raw, `"seq":8`, `"seq":7`) }, "it is damaged: by its header it is 00000000000000000007.snap"},
		{"another hash", func(raw []byte) []byte { return setHeader(raw, `"sha256":"`, `"sha256":"0`) }, "it is damaged: the sha256 of its state is "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			save(t, open(t, dir), worldAt(t, log, 5), worldAt(t, log, 8))
			edit(t, fileOf(dir, 8), test.bad)
			s := open(t, dir)
			w, ignored, err := s.Load(t.Context(), log)
			if err != nil {
				t.Fatal(err)
			}
			if test.why == "" {
				if w.Seq() != 8 || len(ignored) != 0 {
					t.Errorf("at %d, ignored %v", w.Seq(), ignored)
				}
				return
			}
			if w.Seq() != 5 {
				t.Errorf("started at %d, want the snapshot before", w.Seq())
			}
			if len(ignored) != 1 || ignored[0].File != fileOf(dir, 8) || !strings.HasPrefix(ignored[0].Why.Error(), test.why) {
				t.Errorf("ignored %v, want %q", ignored, test.why)
			}
			// The next one takes the place of the bad one.
			save(t, s, worldAt(t, log, 9))
			if got := files(t, dir); !slices.Equal(got, []string{"5", "9"}) {
				t.Errorf("there are %v", got)
			}
		})
	}
	t.Run("all of them are of another log", func(t *testing.T) {
		dir := t.TempDir()
		save(t, open(t, dir), worldAt(t, foreign, 5), worldAt(t, foreign, 8))
		w, ignored, err := open(t, dir).Load(t.Context(), log)
		if err != nil || w.Seq() != 0 || len(ignored) != 2 {
			t.Errorf("at %d, %v, %v", w.Seq(), ignored, err)
		}
	})
}

// No single bit of a file can be flipped without it being passed over.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	log := newLog(t, "a", 3)
	dir := t.TempDir()
	save(t, open(t, dir), worldAt(t, log, 2))
	whole, err := os.ReadFile(fileOf(dir, 2))
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		bit := byte(1) << (i % 8)
		edit(t, fileOf(dir, 2), func([]byte) []byte {
			raw := bytes.Clone(whole)
			raw[i] ^= bit
			return raw
		})
		w, ignored, err := open(t, dir).Load(t.Context(), log)
		if err != nil || w.Seq() != 0 || len(ignored) != 1 {
			t.Fatalf("bit %d of byte %d (%q): at %d, %v, %v", bit, i, whole[i], w.Seq(), ignored, err)
		}
	}
}

func TestSnapshotAheadOfTheLogIsRefused(t *testing.T) {
	dir := t.TempDir()
	save(t, open(t, dir), worldAt(t, newLog(t, "a", 9), 9))
	for _, change := range []func([]byte) []byte{
		func(raw []byte) []byte { return raw },
		func(raw []byte) []byte {
			return setHeader(raw, fmt.Sprintf(`"foldVersion":%d`, projections.FoldVersion), `"foldVersion":999`)
		},
	} {
		edit(t, fileOf(dir, 9), change)
		_, _, err := open(t, dir).Load(t.Context(), newLog(t, "a", 4))
		var ahead *snapshots.AheadError
		if !errors.As(err, &ahead) || ahead.Seq != 9 || ahead.Head != 4 || ahead.File != fileOf(dir, 9) {
			t.Fatalf("err = %v", err)
		}
		if !strings.Contains(err.Error(), "move the snapshots away") {
			t.Errorf("%q gives no advice", err)
		}
	}
}

func TestTwoStay(t *testing.T) {
	log := newLog(t, "a", 9)
	dir := filepath.Join(t.TempDir(), "snapshots")
	s := open(t, dir)
	save(t, s, projections.Empty(), worldAt(t, log, 2), worldAt(t, log, 4), worldAt(t, log, 6), worldAt(t, log, 6))
	if got := files(t, dir); !slices.Equal(got, []string{"4", "6"}) {
		t.Errorf("there are %v", got)
	}
	if err := s.Replace(worldAt(t, log, 5)); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"5"}) {
		t.Errorf("after Replace there are %v", got)
	}
	s.Suspend()
	if err := s.Save(worldAt(t, log, 7)); !errors.Is(err, snapshots.ErrSuspended) {
		t.Errorf("Save after Suspend: %v", err)
	}
	if err := s.Replace(worldAt(t, log, 7)); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, fileOf(dir, 7): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

// A crash leaves at most a file that nobody takes for a snapshot.
func TestWhatACrashLeft(t *testing.T) {
	log := newLog(t, "a", 3)
	dir := t.TempDir()
	save(t, open(t, dir), worldAt(t, log, 2))
	if err := os.WriteFile(filepath.Join(dir, "writing.tmp"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, ignored, err := open(t, dir).Load(t.Context(), log)
	if err != nil || w.Seq() != 2 || len(ignored) != 0 {
		t.Errorf("at %d, %v, %v", w.Seq(), ignored, err)
	}
	if got := files(t, dir); !slices.Equal(got, []string{"2"}) {
		t.Errorf("there are %v", got)
	}
}

// A snapshot that cannot be written leaves those that are there alone.
func TestSaveThatFails(t *testing.T) {
	log := newLog(t, "a", 3)
	dir := t.TempDir()
	s := open(t, dir)
	save(t, s, worldAt(t, log, 2))
	if err := os.Mkdir(filepath.Join(dir, "writing.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Save(worldAt(t, log, 3)); err == nil {
		t.Fatal("it was written into a folder")
	}
	w, _, err := open(t, dir).Load(t.Context(), log)
	if err != nil || w.Seq() != 2 {
		t.Errorf("at %v, %v", w, err)
	}
}

type brokenLog struct{ *memlog.Log }

func (brokenLog) At(context.Context, uint64) (events.Recorded, bool, error) {
	return events.Recorded{}, false, events.ErrTemporary
}

// That the log cannot be asked says nothing about a snapshot.
func TestLogThatCannotBeAsked(t *testing.T) {
	log := newLog(t, "a", 3)
	dir := t.TempDir()
	save(t, open(t, dir), worldAt(t, log, 2))
	if _, _, err := open(t, dir).Load(t.Context(), brokenLog{log}); !errors.Is(err, events.ErrTemporary) {
		t.Errorf("err = %v", err)
	}
}

// The first line tells a person what a file is.
func TestHeaderIsALineOfJSON(t *testing.T) {
	log := newLog(t, "a", 3)
	dir := t.TempDir()
	save(t, open(t, dir), worldAt(t, log, 3))
	raw, err := os.ReadFile(fileOf(dir, 3))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	var h struct {
		Format      int    `json:"format"`
		FoldVersion int    `json:"foldVersion"`
		Seq         uint64 `json:"seq"`
		ID          string `json:"id"`
		Bytes       int    `json:"bytes"`
	}
	if err := json.Unmarshal(line, &h); err != nil {
		t.Fatal(err)
	}
	if h.Format != snapshots.Format || h.FoldVersion != projections.FoldVersion || h.Seq != 3 || h.ID != "a-2" || h.Bytes != len(raw)-512 {
		t.Errorf("header %+v", h)
	}
}
