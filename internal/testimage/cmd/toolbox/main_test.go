package main

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"periplus.dev/internal/testimage"
)

// call runs the toolbox as a container would and returns all that can be seen.
func call(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = run(ctx, stdio{strings.NewReader("from the input\n"), &out, &errs}, args)
	return out.String(), errs.String(), code
}

func TestSubcommands(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TOOLBOX_TEST", "set")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		out  string // a regular expression
		errs string // likewise
		code int
	}{
		{args: []string{"toolbox", "echo", "two", "words"}, out: `^two words\n$`},
		{args: []string{"/bin/echo", "by", "name"}, out: `^by name\n$`},
		{args: []string{"toolbox", "env"}, out: `(?m)^TOOLBOX_TEST=set$`},
		{args: []string{"toolbox", "hostname"}, out: `^` + regexp.QuoteMeta(host) + `\n$`},
		{args: []string{"toolbox", "id"}, out: `^uid=\d+ gid=\d+ groups=\[.*\]\n$`},
		{args: []string{"toolbox", "pwd"}, out: `toolbox\n$`},
		{args: []string{"toolbox", "cat", file}, out: `^content$`},
		{args: []string{"toolbox", "cat"}, out: `^from the input\n$`},
		{args: []string{"toolbox", "cat", file + ".not"}, errs: `^cat: .*no such file`, code: 1},
		{args: []string{"toolbox", "ls", dir}, out: `^a file\n$`},
		{args: []string{"toolbox", "ls", file}, errs: `^ls: .*not a directory`, code: 1},
		{args: []string{"toolbox", "true"}},
		{args: []string{"toolbox", "false"}, code: 1},
		{args: []string{"toolbox", "exit", "0"}},
		{args: []string{"toolbox", "exit", "42"}, code: 42},
		{args: []string{"toolbox", "exit", "300"}, errs: `usage: exit CODE`, code: 2},
		{args: []string{"toolbox", "exit"}, errs: `usage: exit CODE`, code: 2},
		{args: []string{"toolbox", "sleep", "soon"}, errs: `duration "soon"`, code: 2},
		{args: []string{"toolbox", "print-lines", "3"}, out: `^line 1\nline 2\nline 3\n$`},
		{args: []string{"toolbox", "print-lines", "-stderr", "1"}, errs: `^line 1\n$`},
		{args: []string{"toolbox", "print-lines", "many"}, errs: `usage: print-lines`, code: 2},
		{args: []string{"toolbox", "burn", "0.001"}, out: `^\d+(\.\d+)?m?s\n$`},
		{args: []string{"toolbox", "eat-memory", "much"}, errs: `size "much"`, code: 2},
		{args: []string{"toolbox", "http", "extra"}, errs: `usage: http`, code: 2},
		{args: []string{"toolbox", "get", "http://127.0.0.1:1/"}, errs: `connection refused`, code: 1},
		{args: []string{"toolbox", "write", file}, errs: `usage: write`, code: 2},
		{args: []string{"toolbox", "dance"}, errs: `no subcommand "dance"`, code: 2},
		{args: []string{"toolbox"}, errs: `^usage: toolbox burn\|cat`, code: 2},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			out, errs, code := call(t.Context(), c.args...)
			if code != c.code {
				t.Errorf("status %d, want %d", code, c.code)
			}
			if !matches(c.out, out) {
				t.Errorf("output %q does not match %q", out, c.out)
			}
			if !matches(c.errs, errs) {
				t.Errorf("error output %q does not match %q", errs, c.errs)
			}
		})
	}
}

// matches takes an empty pattern for an empty text.
func matches(pattern, text string) bool {
	if pattern == "" {
		return text == ""
	}
	return regexp.MustCompile(pattern).MatchString(text)
}

func TestWriteThenCat(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if _, errs, code := call(t.Context(), "write", file, "hello", "there"); code != 0 {
		t.Fatalf("write: status %d, %s", code, errs)
	}
	if out, _, _ := call(t.Context(), "cat", file); out != "hello there\n" {
		t.Errorf("cat gives %q after write", out)
	}
}

// TestTermEnds holds what process 1 of a container owes to who stops it.
func TestTermEnds(t *testing.T) {
	for _, args := range [][]string{{"sleep", "infinity"}, {"sleep", "3600"}, {"eat-memory", "64Ki"}, {"print-lines", "-every", "1h", "2"}} {
		t.Run(args[0], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begin := time.Now()
				if _, _, code := call(ctx, args...); code != exitTerminated {
					t.Errorf("status %d, want %d", code, exitTerminated)
				}
				if took := time.Since(begin); took != time.Minute {
					t.Errorf("ended after %v, want 1m", took)
				}
			})
		})
	}
}

func TestSleepEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if _, _, code := call(t.Context(), "sleep", "1.5"); code != 0 {
			t.Errorf("status %d", code)
		}
		if took := time.Since(begin); took != 1500*time.Millisecond {
			t.Errorf("slept %v, want 1.5s", took)
		}
	})
}

func TestHTTP(t *testing.T) {
	file := filepath.Join(t.TempDir(), "health")
	ctx, stop := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, stdio{nil, writer, io.Discard}, []string{"http", "-listen", "127.0.0.1:0", "-file", file})
	}()
	line := make([]byte, 100)
	n, err := reader.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "listening on "))

	if _, errs, code := call(t.Context(), "get", "http://"+addr+"/x"); code != 1 || !strings.Contains(errs, "503") {
		t.Errorf("without the file: status %d, %q, want a 503", code, errs)
	}
	if err := os.WriteFile(file, []byte("well"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := call(t.Context(), "get", "http://"+addr+"/x"); code != 0 || out != "well" {
		t.Errorf("with the file: status %d, %q, %q, want its content", code, out, errs)
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("stopped server: status %d", code)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "17": 17, "2Ki": 2048, "3Mi": 3 << 20, "1Gi": 1 << 30} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "Ki", "1Ti"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

// TestLinks holds that the image of the toolbox has a name for each subcommand.
func TestLinks(t *testing.T) {
	links := testimage.ToolboxSpec().Links
	if want := slices.Sorted(maps.Keys(subcommands())); !slices.Equal(links, want) {
		t.Errorf("the image has links %q, the toolbox subcommands %q", links, want)
	}
}
