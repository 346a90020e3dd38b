package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func echo(_ context.Context, std stdio, args []string) error {
	_, err := fmt.Fprintln(std.out, strings.Join(args, " "))
	return err
}

func env(_ context.Context, std stdio, _ []string) error {
	vars := os.Environ()
	slices.Sort(vars)
	_, err := fmt.Fprintln(std.out, strings.Join(vars, "\n"))
	return err
}

func hostname(_ context.Context, std stdio, _ []string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, name)
	return err
}

func pwd(_ context.Context, std stdio, _ []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, dir)
	return err
}

func id(_ context.Context, std stdio, _ []string) error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "uid=%d gid=%d groups=%v\n", os.Getuid(), os.Getgid(), groups)
	return err
}

// printLines makes logs of a known length, at once or one line a beat.
func printLines(ctx context.Context, std stdio, args []string) error {
	flags := flag.NewFlagSet("print-lines", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	every := flags.Duration("every", 0, "pause before each line but the first")
	toStderr := flags.Bool("stderr", false, "print to the error output")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return errUsage
	}
	n, err := strconv.Atoi(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("%w: number of lines %q", errUsage, flags.Arg(0))
	}
	out := std.out
	if *toStderr {
		out = std.err
	}
	for i := range n {
		if i > 0 && !pause(ctx, *every) {
			return statusError(exitTerminated)
		}
		if _, err := fmt.Fprintf(out, "line %d\n", i+1); err != nil {
			return err
		}
	}
	return nil
}

// pause waits and reports whether it could to the end.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// tty tells what kind of input there is, as tty and stty size do.
func tty(_ context.Context, std stdio, _ []string) error {
	size, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		fmt.Fprintln(std.out, "not a tty")
		return statusError(1)
	}
	name, err := os.Readlink("/proc/self/fd/0")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.out, "%s\n%d %d\n", name, size.Row, size.Col)
	return err
}
