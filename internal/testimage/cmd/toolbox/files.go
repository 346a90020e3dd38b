package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
)

func cat(_ context.Context, std stdio, args []string) error {
	if len(args) == 0 {
		_, err := io.Copy(std.out, std.in)
		return err
	}
	for _, name := range args {
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := std.out.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func ls(_ context.Context, std stdio, args []string) error {
	if len(args) == 0 {
		args = []string{"."}
	}
	for _, dir := range args {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if _, err := fmt.Fprintln(std.out, entry.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func write(_ context.Context, _ stdio, args []string) error {
	if len(args) < 2 {
		return errUsage
	}
	return os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")+"\n"), 0o644)
}
