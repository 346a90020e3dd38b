package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"periplus.dev/nodeagent/crilog"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

const stamp = "2026-01-02T03:04:05.000000006Z"

func at() time.Time { return epoch }

func TestWrite(t *testing.T) {
	long := strings.Repeat("x", 16<<10)
	for name, c := range map[string]struct {
		writes []string
		want   []string // without the stamp
	}{
		"one line":           {[]string{"a\n"}, []string{"stdout F a"}},
		"two lines":          {[]string{"a\nb\n"}, []string{"stdout F a", "stdout F b"}},
		"empty line":         {[]string{"\n"}, []string{"stdout F "}},
		"unended":            {[]string{"a"}, []string{"stdout P a"}},
		"line in two writes": {[]string{"a", "b\n"}, []string{"stdout P a", "stdout F b"}},
		"end comes late":     {[]string{"a", "\n"}, []string{"stdout P a", "stdout F "}},
		"just fits":          {[]string{long + "\n"}, []string{"stdout F " + long}},
		"too long":           {[]string{long + "y\n"}, []string{"stdout P " + long, "stdout F y"}},
		"nothing":            {[]string{""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			l := crilog.New(&got, 0, at)
			out := l.Stream(crilog.Stdout)
			for _, w := range c.writes {
				if n, err := io.WriteString(out, w); n != len(w) || err != nil {
					t.Fatalf("write: %d, %v", n, err)
				}
			}
			want := ""
			for _, line := range c.want {
				want += stamp + " " + line + "\n"
			}
			if got.String() != want {
				t.Errorf("got %q, want %q", got.String(), want)
			}
			if l.Size() != int64(got.Len()) {
				t.Errorf("size = %d, want %d", l.Size(), got.Len())
			}
		})
	}
}

func TestRead(t *testing.T) {
	const log = "2026-01-01T00:00:01Z stdout F one\n" +
		"2026-01-01T00:00:02Z stderr F two\n" +
		"not an entry\n" +
		"2026-01-01T00:00:03Z stdout P thr\n" +
		"2026-01-01T00:00:04Z stdout F ee\n" +
		"2026-01-01T00:00:05.5Z stdout F \n" +
		"2026-01-01T00:00:06Z stdout P end"
	whole := log + "\n"
	n := func(i int64) *int64 { return &i }
	for name, c := range map[string]struct {
		o    crilog.Options
		log  string
		want string
	}{
		"all":              {crilog.Options{}, whole, "one\ntwo\nthree\n\nend"},
		"torn entry":       {crilog.Options{}, log, "one\ntwo\nthree\n\n"},
		"empty":            {crilog.Options{Tail: n(3)}, "", ""},
		"tail 0":           {crilog.Options{Tail: n(0)}, whole, ""},
		"tail -1":          {crilog.Options{Tail: n(-1)}, whole, ""},
		"tail 1":           {crilog.Options{Tail: n(1)}, whole, "end"},
		"tail 2":           {crilog.Options{Tail: n(2)}, whole, "\nend"},
		"tail 3 with part": {crilog.Options{Tail: n(3)}, whole, "three\n\nend"},
		"tail too many":    {crilog.Options{Tail: n(99)}, whole, "one\ntwo\nthree\n\nend"},
		"since":            {crilog.Options{Since: time.Date(2026, 1, 1, 0, 0, 5, 0, time.UTC)}, whole, "\nend"},
		"since and tail":   {crilog.Options{Since: time.Date(2026, 1, 1, 0, 0, 4, 0, time.UTC), Tail: n(1)}, whole, "end"},
		"limit":            {crilog.Options{LimitBytes: n(5)}, whole, "one\nt"},
		"limit 0":          {crilog.Options{LimitBytes: n(0)}, whole, ""},
		"limit beyond":     {crilog.Options{LimitBytes: n(500)}, whole, "one\ntwo\nthree\n\nend"},
		"timestamps": {crilog.Options{Timestamps: true, Tail: n(3)}, whole,
			"2026-01-01T00:00:03Z three\n2026-01-01T00:00:05.5Z \n2026-01-01T00:00:06Z end"},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := crilog.Read(t.Context(), strings.NewReader(c.log), int64(len(c.log)), c.o, &got); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("got %q, want %q", got.String(), c.want)
			}
		})
	}
}

// Whatever is written in whatever pieces is read back byte for byte, and the
// last n lines are what cutting the output at its newlines gives.
func TestReadsBackWhatWasWritten(t *testing.T) {
	piece := rapid.OneOf(rapid.StringMatching(`[a-c \n]{0,20}`), rapid.Just(strings.Repeat("z", 40<<10)))
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces")
		tail := rapid.Int64Range(0, 8).Draw(t, "tail")
		var file bytes.Buffer
		l := crilog.New(&file, 0, at)
		out := l.Stream(crilog.Stdout)
		for _, p := range pieces {
			if _, err := io.WriteString(out, p); err != nil {
				t.Fatal(err)
			}
		}
		printed := strings.Join(pieces, "")
		read := func(o crilog.Options) string {
			var got bytes.Buffer
			if err := crilog.Read(context.Background(), bytes.NewReader(file.Bytes()), l.Size(), o, &got); err != nil {
				t.Fatal(err)
			}
			return got.String()
		}
		if got := read(crilog.Options{}); got != printed {
			t.Fatalf("got %.80q, want %.80q", got, printed)
		}
		lines := strings.SplitAfter(printed, "\n")
		if lines[len(lines)-1] == "" {
			lines = lines[:len(lines)-1]
		}
		want := strings.Join(lines[max(0, len(lines)-int(tail)):], "")
		if got := read(crilog.Options{Tail: &tail}); got != want {
			t.Fatalf("tail %d: got %.80q, want %.80q", tail, got, want)
		}
	})
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := openFile(t, filepath.Join(t.TempDir(), "pod", "0.log"))
		out := l.Stream(crilog.Stdout)
		got := make(chan string)
		ended := make(chan error)
		go func() {
			ended <- crilog.Read(t.Context(), f, l.Size(), crilog.Options{Await: l.Await}, writerFunc(func(p []byte) { got <- string(p) }))
		}()
		for _, want := range []string{"first\n", "sec", "ond\n"} {
			synctest.Wait() // the follower is asleep
			if _, err := io.WriteString(out, want); err != nil {
				t.Fatal(err)
			}
			if line := <-got; line != want {
				t.Errorf("got %q, want %q", line, want)
			}
		}
		synctest.Wait()
		if err := l.End(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("follow ended with %v", err)
		}
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	l := crilog.New(io.Discard, 0, at)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := crilog.Read(ctx, strings.NewReader(""), 0, crilog.Options{Await: l.Await}, io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want canceled", err)
	}
}

func TestOpenFileGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	const kept = stamp + " stdout F kept\n"
	if err := os.WriteFile(path, []byte(kept+stamp+" stdout F to"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, f := openFile(t, path)
	if _, err := io.WriteString(l.Stream(crilog.Stderr), "more\n"); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := crilog.Read(t.Context(), f, l.Size(), crilog.Options{}, &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != "kept\nmore\n" {
		t.Errorf("got %q", got.String())
	}
}

func TestLostOutputIsReported(t *testing.T) {
	full := errors.New("no space left")
	l := crilog.New(failing{full}, 0, at)
	if n, err := io.WriteString(l.Stream(crilog.Stdout), "x\n"); n != 2 || err != nil {
		t.Errorf("write: %d, %v; a container must not notice", n, err)
	}
	if err := l.End(); !errors.Is(err, full) {
		t.Errorf("End = %v, want %v", err, full)
	}
}

func openFile(t *testing.T, path string) (*crilog.Log, *os.File) {
	t.Helper()
	l, f, err := crilog.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, f
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
