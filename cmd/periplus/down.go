package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// stopTimeout bounds the wait for the process to end by itself.
const stopTimeout = 60 * time.Second

func newDownCommand() *cobra.Command {
	var dir string
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster of a data directory",
		Long: `Stop the process that runs the cluster of a data directory. Containers go on
running; the next up takes them back. With --purge they are removed as well, and
so is everything in the directory: the whole history.`,
		Example: `  periplus down
  periplus down --data-dir ./.periplus --purge`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return down(cmd.Context(), cmd, dataDir(dir), purge)
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", defaultDataDir(), "directory of the cluster")
	cmd.Flags().BoolVar(&purge, "purge", false, "also remove the containers and everything in the directory")
	return cmd
}

func down(ctx context.Context, cmd *cobra.Command, d dataDir, purge bool) error {
	if _, err := os.Stat(d.pidFile()); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not the data directory of a cluster: it has no %s", d, filepath.Base(d.pidFile()))
	}
	held, err := d.held()
	if err != nil {
		return err
	}
	if held {
		if err := stop(ctx, d); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "stopped the cluster in %s\n", d)
	} else {
		fmt.Fprintf(cmd.OutOrStdout(), "no cluster is running in %s\n", d)
	}
	if !purge {
		return nil
	}
	if err := purgeDir(ctx, d); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "removed everything in %s\n", d)
	return nil
}

func stop(ctx context.Context, d dataDir) error {
	pid, err := d.pid()
	if err != nil || pid <= 1 {
		return fmt.Errorf("read %s: it does not name a process: %w", d.pidFile(), err)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop process %d: %w", pid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return d.released(ctx)
}

// purgeDir removes what runs on the node of a directory, then what is in it.
func purgeDir(ctx context.Context, d dataDir) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := purgeNode(ctx, d); err != nil {
		return fmt.Errorf("remove containers: %w", err)
	}
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(d.path(e.Name())); err != nil {
			return fmt.Errorf("remove data: %w", err)
		}
	}
	return nil
}
