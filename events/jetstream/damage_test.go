package jetstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"periplus.dev/events"
)

// stored makes a directory with a log of so many events, in two blocks at least.
func stored(t *testing.T, n int) (dir string, blocks []block) {
	t.Helper()
	dir = t.TempDir()
	s, l := openAt(t, Config{Dir: dir})
	r := &rig{t: t}
	for left := n; left > 0; {
		ps := make([]events.Proposal, min(left, 500))
		for i := range ps {
			ps[i] = r.propose(fmt.Sprint("c", left-i), events.FactCreated, 0)
			ps[i].Data = fmt.Appendf(nil, `{"uid":"u","object":{"filler":%q}}`, bytes.Repeat([]byte("x"), 8<<10))
		}
		if _, err := l.Append(t.Context(), ps...); err != nil {
			t.Fatal(err)
		}
		left -= len(ps)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	blocks, err := blocksOf(dir, "LOG")
	if err != nil || len(blocks) < 2 {
		t.Fatalf("%d blocks, %v; want two or more", len(blocks), err)
	}
	return dir, blocks
}

func openAt(t *testing.T, cfg Config) (*Server, *Log) {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(t.Context(), c, LogConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}

// offsetOf is where the record of an event starts in a block.
func offsetOf(t *testing.T, b block, seq uint64) int64 {
	t.Helper()
	raw, err := os.ReadFile(b.path)
	if err != nil {
		t.Fatal(err)
	}
	for at := int64(0); at < int64(len(raw)); {
		if binary.LittleEndian.Uint64(raw[at+4:]) == seq {
			return at
		}
		at += int64(binary.LittleEndian.Uint32(raw[at:]) &^ bitHeaders)
	}
	t.Fatalf("event %d is not in %s", seq, b.path)
	return 0
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedLog: whatever happens to the files, the start names the first event
// that is concerned and leaves everything as it is; given leave to cut there, the
// log goes on from the event before.
func TestDamagedLog(t *testing.T) {
	const n, middle = 2000, 300 // a block holds about 900
	last := func(bs []block) block { return bs[len(bs)-1] }
	original, _ := stored(t, n)
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string, blocks []block)
		seq   uint64
	}{
		{"payload of the middle", func(t *testing.T, _ string, bs []block) {
			flip(t, bs[0].path, offsetOf(t, bs[0], middle)+4000)
		}, middle},
		{"length of the middle", func(t *testing.T, _ string, bs []block) {
			flip(t, bs[0].path, offsetOf(t, bs[0], middle)+2)
		}, middle},
		{"length of headers", func(t *testing.T, _ string, bs []block) {
			at := offsetOf(t, bs[0], middle)
			flip(t, bs[0].path, at+recordHead+int64(len("pp.log.obj.core.configmaps.default.c0000")))
		}, middle},
		{"sequence of the last", func(t *testing.T, _ string, bs []block) {
			flip(t, last(bs).path, offsetOf(t, last(bs), n)+4)
		}, n},
		{"last file cut within an event", func(t *testing.T, _ string, bs []block) {
			must(t, os.Truncate(last(bs).path, offsetOf(t, last(bs), n-1)+100))
		}, n - 1},
		{"last file cut behind an event", func(t *testing.T, _ string, bs []block) {
			must(t, os.Truncate(last(bs).path, offsetOf(t, last(bs), n)))
		}, n},
		{"zeros at the end", func(t *testing.T, _ string, bs []block) {
			f, err := os.OpenFile(last(bs).path, os.O_WRONLY, 0)
			must(t, err)
			defer f.Close()
			_, err = f.WriteAt(make([]byte, 9000), offsetOf(t, last(bs), n))
			must(t, err)
		}, n},
		{"first file gone", func(t *testing.T, _ string, bs []block) { must(t, os.Remove(bs[0].path)) }, 1},
		{"all files gone", func(t *testing.T, dir string, _ []block) {
			must(t, os.RemoveAll(filepath.Join(dir, "jetstream")))
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "log")
			must(t, os.CopyFS(dir, os.DirFS(original)))
			blocks, err := blocksOf(dir, "LOG")
			must(t, err)
			test.spoil(t, dir, blocks)
			before := contents(t, dir)
			for _, cfg := range []Config{{Dir: dir}, {Dir: dir, CutAt: test.seq + 1}} {
				s, err := Start(t.Context(), cfg)
				var d *DamageError
				if !errors.As(err, &d) || !errors.Is(err, events.ErrGap) || d.Seq != test.seq || d.Head != n || d.Stream != "LOG" {
					t.Errorf("start: %v, want damage at %d of %d", err, test.seq, n)
					if err == nil {
						_ = s.Close()
					}
				}
			}
			if contents(t, dir) != before {
				t.Error("the refused start changed files")
			}
			s, l := openAt(t, Config{Dir: dir, CutAt: test.seq})
			head, err := l.Head(t.Context())
			if err != nil || head != test.seq-1 {
				t.Fatalf("head is %d, %v; want %d", head, err, test.seq-1)
			}
			r := &rig{t: t, n: 10 * n, Log: l}
			if seq := r.must(r.propose("next", events.FactCreated, 0)); seq != test.seq {
				t.Errorf("appended as %d, want %d", seq, test.seq)
			}
			next := uint64(1)
			err = l.Read(t.Context(), 1, func(e events.Recorded, _ uint64) error {
				if e.Seq != next {
					return fmt.Errorf("event %d in place %d", e.Seq, next)
				}
				if next++; next > test.seq {
					return errStop
				}
				return nil
			})
			if !errors.Is(err, errStop) {
				t.Errorf("read: %v", err)
			}
			must(t, s.Close())
			s, _ = openAt(t, Config{Dir: dir})
			must(t, s.Close())
			if _, err := Start(t.Context(), Config{Dir: dir, CutAt: 7}); err == nil || !strings.Contains(err.Error(), "not damaged there") {
				t.Errorf("a log that is whole was cut: %v", err)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contents sums up the files of a directory, the lock apart.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %d %x\n", path, len(raw), headSum(string(raw), 0))
		return err
	}))
	return b.String()
}

// TestUnfinishedWrite: what was never acknowledged may stand half at the end, as
// a machine leaves it that lost power.
func TestUnfinishedWrite(t *testing.T) {
	dir, blocks := stored(t, 1000)
	path := blocks[len(blocks)-1].path
	raw, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, append(raw, raw[:100]...), 0o600))
	_, l := openAt(t, Config{Dir: dir})
	if head, err := l.Head(t.Context()); err != nil || head != 1000 {
		t.Errorf("head is %d, %v; want 1000", head, err)
	}
}

// TestOldDamage is found while the server runs already.
func TestOldDamage(t *testing.T) {
	dir, blocks := stored(t, 2000)
	flip(t, blocks[0].path, offsetOf(t, blocks[0], 300)+4000)
	logger, _, found := said("the log is damaged")
	s, _ := openAt(t, Config{Dir: dir, checkNow: 1, Logger: logger})
	<-found
	if d := s.Damage(); d.Seq != 300 {
		t.Errorf("%v, want event 300", d)
	}
	must(t, s.Close())
}

// TestShorterElsewhere: a log on another server that has lost its end.
func TestShorterElsewhere(t *testing.T) {
	r := newRig(t, LogConfig{})
	r.must(r.propose("a", events.FactCreated, 0))
	file := filepath.Join(t.TempDir(), "LOG.head")
	must(t, os.WriteFile(file, fmt.Appendf(nil, headLine, "LOG", 3, headSum("LOG", 3)), 0o600))
	_, err := Open(t.Context(), r.conn, LogConfig{HeadFile: file})
	var d *DamageError
	if !errors.As(err, &d) || d.Seq != 2 || d.Head != 3 {
		t.Errorf("open: %v, want damage at 2", err)
	}
	must(t, os.WriteFile(file, []byte("LOG 1 junk\n"), 0o600))
	if _, err := Open(t.Context(), r.conn, LogConfig{HeadFile: file}); err != nil {
		t.Errorf("open with a spoilt head file: %v", err)
	}
	if seq, err := readHead(file, "LOG"); seq != 1 || err != nil {
		t.Errorf("head file says %d, %v; want 1", seq, err)
	}
}

// TestLazyHead: with a lazy disk the head is what has surely been synced.
func TestLazyHead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOG.head")
	h, err := openHead(path, "LOG", true, zap.NewNop())
	must(t, err)
	for _, want := range []uint64{0, 0, 5, 6} {
		h.note(h.known.Load() + 5 - min(h.known.Load(), 4))
		h.settle()
		if got, err := readHead(path, "LOG"); got != want || err != nil && want != 0 {
			t.Errorf("after a round: %d, %v; want %d", got, err, want)
		}
	}
	must(t, h.close())
	if got, err := readHead(path, "LOG"); got != 8 || err != nil {
		t.Errorf("at the end: %d, %v; want 8", got, err)
	}
}

func BenchmarkCheck(b *testing.B) {
	dir := os.Getenv("PERIPLUS_CHECK_DIR")
	if dir == "" {
		b.Skip("PERIPLUS_CHECK_DIR names no directory of a log")
	}
	blocks, err := blocksOf(dir, "LOG")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, size := &scan{stream: "LOG", want: 1}, int64(0)
		for _, blk := range blocks {
			if f, err := s.read(blk); f != nil || err != nil {
				b.Fatal(f, err)
			}
			size += blk.size
		}
		b.SetBytes(size)
	}
}
