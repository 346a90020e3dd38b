package main

import (
	"context"
	"fmt"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sleep waits, and is ended by TERM: process 1 of a container has to ask for that.
func sleep(ctx context.Context, _ stdio, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	if args[0] == "infinity" {
		<-ctx.Done()
		return statusError(exitTerminated)
	}
	wait, err := parseDuration(args[0])
	if err != nil {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return statusError(exitTerminated)
	}
}

// stubborn is for what only KILL can end.
func stubborn(_ context.Context, std stdio, _ []string) error {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	if _, err := fmt.Fprintln(std.out, "not listening"); err != nil {
		return err
	}
	for range time.Tick(time.Hour) { // a bare select would be a deadlock to the Go runtime
		continue
	}
	return nil
}

func exit(_ context.Context, _ stdio, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	code, err := strconv.Atoi(args[0])
	if err != nil || code < 0 || code > 255 {
		return fmt.Errorf("%w: exit status %q", errUsage, args[0])
	}
	if code == 0 {
		return nil
	}
	return statusError(code)
}

// burn shows what a limit on processor time leaves of a core.
func burn(ctx context.Context, std stdio, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	wait, err := parseDuration(args[0])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for ctx.Err() == nil {
		continue
	}
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, time.Duration(used.Utime.Nano()+used.Stime.Nano()).Round(time.Millisecond))
	return err
}

// eatMemory uses memory for good: each page is written, so that the kernel has to give it.
func eatMemory(ctx context.Context, std stdio, args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	size, err := parseBytes(args[0])
	if err != nil {
		return err
	}
	eaten := make([]byte, size)
	for i := range eaten {
		eaten[i] = byte(i)
	}
	if _, err := fmt.Fprintf(std.out, "ate %d bytes\n", len(eaten)); err != nil {
		return err
	}
	<-ctx.Done()
	return statusError(exitTerminated)
}

// parseDuration reads 1.5s or, as sleep always could, a number of seconds.
func parseDuration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%w: duration %q", errUsage, text)
	}
	return d, nil
}

// parseBytes reads a number of bytes with an optional binary unit.
func parseBytes(text string) (int, error) {
	digits, unit := text, 1
	for suffix, factor := range map[string]int{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			digits, unit = rest, factor
		}
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: size %q", errUsage, text)
	}
	return n * unit, nil
}
