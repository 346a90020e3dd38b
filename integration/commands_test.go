package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"periplus.dev/internal/testimage"
)

// eventuallyTimeout bounds what a script waits for.
const eventuallyTimeout = 90 * time.Second

// commands are what a script may say beside testscript's own commands:
//
//	up | down | kill9                 start the script's cluster again, stop it, end its process with KILL
//	eventually PATTERN CMD...         run a command until it succeeds and its output matches
//	exits [-user] N CMD...            run a command that ends with this status; -user: as an ordinary user
//	let NAME CMD...                   set a variable to what a command prints
//	follow NAME CMD...                start a command that goes on
//	[!] seen NAME PATTERN             wait until it has printed that; with !: it has not
//	unfollow NAME                     interrupt it; its output is there for stdout and stderr
//	fetch URL                         print status and body of a page, once it is there
//	mark | unmoved                    remember where the log ends; it still ends there
//	bounds NAMESPACE DEPLOYMENT       replay the log: no rollout broke its bounds
//	[!] inside FOLDER TEXT            some file below the folder holds the text
//	push REF                          put the toolbox into the registry under a name
//	pack REF FILE                     write the toolbox under a name into an archive
//	pulls N REPOSITORY                the registry was asked for it so often at least
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"up": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(theirs(ts).up(context.Background())) },
		"down": func(ts *testscript.TestScript, _ bool, _ []string) {
			ts.Check(theirs(ts).down(context.Background(), false))
		},
		"kill9":      func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(theirs(ts).kill(context.Background())) },
		"eventually": eventually,
		"exits":      exits,
		"let":        let,
		"follow":     follow,
		"seen":       seen,
		"unfollow":   unfollow,
		"fetch":      fetch,
		"mark":       func(ts *testscript.TestScript, _ bool, _ []string) { *markOf(ts) = headOf(ts) },
		"unmoved":    unmoved,
		"bounds":     bounds,
		"inside":     inside,
		"push":       push,
		"pack":       pack,
		"pulls":      pulls,
	}
}

// theirs is the script's cluster, if a program runs it.
func theirs(ts *testscript.TestScript) *binary {
	b, ok := ts.Value(theWorld).(*binary)
	if !ok {
		ts.Fatalf("this cluster cannot be stopped by a script")
	}
	return b
}

// want fails a script whose command has too few words.
func want(ts *testscript.TestScript, n int, usage string, args []string) {
	if len(args) < n {
		ts.Fatalf("usage: %s", usage)
	}
}

// command is a command in the script's environment.
func command(ts *testscript.TestScript, args []string) *exec.Cmd {
	program := args[0]
	switch program {
	case "periplus":
		program = given.periplus
	case "kubectl":
		program = given.kubectl
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "KUBECONFIG", "TMPDIR", "DIR", "WORK", "NODE", "KUBE_EDITOR"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// output runs a command to its end.
func output(cmd *exec.Cmd) (stdout, stderr []byte, err error) {
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.Bytes(), e.Bytes(), err
}

// tell hands the output of a command to the script.
func tell(ts *testscript.TestScript, stdout, stderr []byte) {
	_, _ = ts.Stdout().Write(stdout)
	_, _ = ts.Stderr().Write(stderr)
}

func pattern(ts *testscript.TestScript, text string) *regexp.Regexp {
	re, err := regexp.Compile("(?m)" + text)
	ts.Check(err)
	return re
}

func eventually(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "eventually PATTERN CMD...", args)
	re := pattern(ts, args[0])
	var stdout, stderr []byte
	err := until(context.Background(), eventuallyTimeout, func() (bool, error) {
		var err error
		stdout, stderr, err = output(command(ts, args[1:]))
		return err == nil && re.Match(stdout), nil
	})
	tell(ts, stdout, stderr)
	if err != nil {
		ts.Fatalf("%v: %s", err, re)
	}
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	ordinary := len(args) > 0 && args[0] == "-user"
	if ordinary {
		args = args[1:]
	}
	want(ts, 2, "exits [-user] N CMD...", args)
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := command(ts, args[1:])
	if ordinary {
		becomeOrdinary(cmd, filepath.Dir(ts.Getenv("DIR")))
		cmd.Dir = filepath.Dir(ts.Getenv("DIR"))
	}
	stdout, stderr, err := output(cmd)
	tell(ts, stdout, stderr)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		ts.Fatalf("exit status %d, want %d", got, code)
	}
}

func let(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "let NAME CMD...", args)
	stdout, stderr, err := output(command(ts, args[1:]))
	tell(ts, stdout, stderr)
	ts.Check(err)
	ts.Setenv(args[0], strings.TrimSpace(string(stdout)))
}

func fetch(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 1, "fetch URL", args)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	var last error
	err := until(context.Background(), 20*time.Second, func() (bool, error) {
		var res *http.Response
		if res, last = client.Get(args[0]); last != nil {
			return false, nil
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		fmt.Fprintf(ts.Stdout(), "%s\n%s", res.Status, body)
		return true, err
	})
	ts.Check(errors.Join(err, last))
}

// headOf is the sequence of the last event in the log.
func headOf(ts *testscript.TestScript) uint64 {
	stdout, stderr, err := output(command(ts, []string{"periplus", "version", "-o", "json"}))
	if err != nil {
		ts.Fatalf("%v: %s", err, stderr)
	}
	var answer struct {
		Server struct {
			Head uint64 `json:"head"`
		} `json:"server"`
	}
	ts.Check(json.Unmarshal(stdout, &answer))
	return answer.Server.Head
}

func markOf(ts *testscript.TestScript) *uint64 { return ts.Value(theMark).(*uint64) }

func unmoved(ts *testscript.TestScript, _ bool, _ []string) {
	from, to := *markOf(ts), headOf(ts)
	if from == to {
		return
	}
	stdout, _, _ := output(command(ts, []string{"periplus", "tail", "--no-follow", "--from", strconv.FormatUint(from+1, 10)}))
	ts.Fatalf("the log has grown from %d to %d:\n%s", from, to, stdout)
}

func bounds(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "bounds NAMESPACE DEPLOYMENT", args)
	stdout, stderr, err := output(command(ts, []string{"periplus", "tail", "--no-follow", "--from", "1", "-o", "cloudevents"}))
	if err != nil {
		ts.Fatalf("%v: %s", err, stderr)
	}
	seen, err := replay(bytes.NewReader(stdout), args[0], args[1])
	ts.Check(err)
	ts.Logf("%d events, at most %d pods, %d pods in all", seen.events, seen.most, seen.pods)
}

func inside(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, 2, "[!] inside FOLDER TEXT", args)
	files, holding := 0, ""
	ts.Check(filepath.WalkDir(args[0], func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(name)
		if files++; bytes.Contains(content, []byte(args[1])) {
			holding = name
		}
		return err
	}))
	switch {
	case files == 0:
		ts.Fatalf("there is no file in %s", args[0])
	case neg && holding != "":
		ts.Fatalf("%s holds %q", holding, args[1])
	case !neg && holding == "":
		ts.Fatalf("none of %d files holds %q", files, args[1])
	}
}

func registryOf(ts *testscript.TestScript) *testimage.Registry {
	r, ok := ts.Value(theRegistry).(*testimage.Registry)
	if !ok {
		ts.Fatalf("this script has no registry")
	}
	return r
}

func push(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 1, "push REF", args)
	images, err := imagesOnce()
	ts.Check(err)
	ts.Check(registryOf(ts).Push(context.Background(), args[0], images["periplus.example/toolbox:v1"]))
}

func pack(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "pack REF FILE", args)
	images, err := imagesOnce()
	ts.Check(err)
	var archive bytes.Buffer
	ts.Check(testimage.WriteLayoutTar(&archive, map[string]v1.Image{args[0]: images["periplus.example/toolbox:v1"]}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), archive.Bytes(), 0o600))
}

func pulls(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "pulls N REPOSITORY", args)
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := registryOf(ts).ManifestReads(args[1]); got < n {
		ts.Fatalf("%s was asked for %d times, want %d", args[1], got, n)
	}
}
