// Command toolbox is what test containers run: one static program that knows how
// to behave well, badly and greedily on demand, so that a test needs no image
// from elsewhere. It is called as `toolbox NAME ARGUMENT...` or by the NAME itself.
//
// Exit status: that of the subcommand; 143 if TERM ended it, as a shell would
// say; 1 if it failed; 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// exitTerminated is the status of a program that TERM ended.
const exitTerminated = 128 + int(syscall.SIGTERM)

// errUsage marks an error as the caller's.
var errUsage = errors.New("wrong usage")

// statusError is nothing but the status to exit with.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// stdio is what a subcommand reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// subcommand runs until it is done or the context ends, which TERM and INT do.
type subcommand struct {
	usage string
	run   func(ctx context.Context, std stdio, args []string) error
}

// subcommands is the whole toolbox, by name.
func subcommands() map[string]subcommand {
	return map[string]subcommand{
		"burn":        {"burn DURATION: keep one core busy, print the processor time it got", burn},
		"cat":         {"cat [FILE...]: print files, or the input", cat},
		"eat-memory":  {"eat-memory BYTES[Ki|Mi|Gi]: use that much memory, then wait for TERM", eatMemory},
		"echo":        {"echo [WORD...]: print the words", echo},
		"env":         {"env: print the environment, sorted", env},
		"exit":        {"exit CODE: end with this status", exit},
		"false":       {"false: end with status 1", func(context.Context, stdio, []string) error { return statusError(1) }},
		"get":         {"get URL: print what an HTTP server answers", get},
		"hostname":    {"hostname: print the host's name", hostname},
		"http":        {"http [-listen ADDR] [-file FILE]: answer every request with host name and path, or with the file", serve},
		"id":          {"id: print user, group and further groups", id},
		"ls":          {"ls [DIR...]: print names, one a line", ls},
		"print-lines": {"print-lines [-every DURATION] [-stderr] N: print N numbered lines", printLines},
		"pwd":         {"pwd: print the working directory", pwd},
		"sleep":       {"sleep DURATION|infinity: wait; seconds without a unit", sleep},
		"stubborn":    {"stubborn: ignore TERM and INT until KILL comes", stubborn},
		"true":        {"true: end with status 0", func(context.Context, stdio, []string) error { return nil }},
		"tty":         {"tty: print the terminal's name and its rows and columns", tty},
		"write":       {"write FILE WORD...: write the words and a line end to the file", write},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, stdio{os.Stdin, os.Stdout, os.Stderr}, os.Args)
	stop()
	os.Exit(code)
}

// run finds the subcommand in args, which begin with the program's own name, and
// returns the status to exit with.
func run(ctx context.Context, std stdio, args []string) int {
	all := subcommands()
	name, args := filepath.Base(args[0]), args[1:]
	if _, ok := all[name]; !ok {
		if len(args) == 0 {
			fmt.Fprintf(std.err, "usage: toolbox %s ...\n", strings.Join(slices.Sorted(maps.Keys(all)), "|"))
			return 2
		}
		name, args = args[0], args[1:]
	}
	chosen, ok := all[name]
	if !ok {
		fmt.Fprintf(std.err, "toolbox: no subcommand %q\n", name)
		return 2
	}
	err := chosen.run(ctx, std, args)
	var status statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errUsage):
		fmt.Fprintf(std.err, "%v\nusage: %s\n", err, chosen.usage)
		return 2
	default:
		fmt.Fprintf(std.err, "%s: %v\n", name, err)
		return 1
	}
}
