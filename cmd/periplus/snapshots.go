package main

import (
	"context"
	"fmt"

	"periplus.dev/internal/cluster"
	"periplus.dev/snapshots"
)

// snapshotsDir is a name below the data directory.
const snapshotsDir = "snapshots"

// openSnapshots finds where the fold of the log begins, and where Worlds are kept
// for the next start.
func (c *running) openSnapshots(ctx context.Context, cfg logConfig, conf *cluster.Config) error {
	var err error
	if conf.Unsynced, err = cfg.syncInterval(); err != nil {
		return err
	}
	if conf.Snapshots, err = snapshots.Open(c.dir.path(snapshotsDir)); err != nil {
		return err
	}
	if conf.World, err = cluster.LoadWorld(ctx, conf.Snapshots, conf.Log, conf.Logger); err != nil {
		return fmt.Errorf("start from a snapshot: %w", err)
	}
	return nil
}
