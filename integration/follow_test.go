package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// follower is a command that goes on, and what it has printed so far.
type follower struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu     sync.Mutex
	stdout bytes.Buffer
	grown  chan struct{} // closed, and replaced, at each write
}

// Write implements io.Writer for the command's output.
func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.grown)
	f.grown = make(chan struct{})
	return f.stdout.Write(p)
}

func (f *follower) look() (string, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stdout.String(), f.grown
}

// await waits until the output matches.
func (f *follower) await(re *regexp.Regexp) error {
	late := time.NewTimer(eventuallyTimeout)
	defer late.Stop()
	for {
		text, grown := f.look()
		if re.MatchString(text) {
			return nil
		}
		select {
		case <-grown:
		case <-late.C:
			return fmt.Errorf("%w: %s is not in:\n%s", errTooLong, re, text)
		}
	}
}

// stop interrupts the command and waits for its end.
func (f *follower) stop() error {
	if err := f.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = f.cmd.Wait() // how it ends when it is interrupted is its own affair
	return nil
}

func stopFollowers(all map[string]*follower) error {
	var errs []error
	for _, f := range all {
		errs = append(errs, f.stop())
	}
	clear(all)
	return errors.Join(errs...)
}

func followers(ts *testscript.TestScript) map[string]*follower {
	return ts.Value(theFollowers).(map[string]*follower)
}

func follow(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 2, "follow NAME CMD...", args)
	f := &follower{cmd: command(ts, args[1:]), grown: make(chan struct{})}
	f.cmd.Stdout, f.cmd.Stderr = f, &f.stderr
	ts.Check(f.cmd.Start())
	followers(ts)[args[0]] = f
}

func named(ts *testscript.TestScript, name string) *follower {
	f, ok := followers(ts)[name]
	if !ok {
		ts.Fatalf("nothing called %s is being followed", name)
	}
	return f
}

func seen(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, 2, "[!] seen NAME PATTERN", args)
	f, re := named(ts, args[0]), pattern(ts, args[1])
	if !neg {
		ts.Check(f.await(re))
		return
	}
	if text, _ := f.look(); re.MatchString(text) {
		ts.Fatalf("%s is in:\n%s", re, text)
	}
}

func unfollow(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, 1, "unfollow NAME", args)
	f := named(ts, args[0])
	delete(followers(ts), args[0])
	ts.Check(f.stop())
	text, _ := f.look()
	tell(ts, []byte(text), f.stderr.Bytes())
}
