package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/controlplane"
	"periplus.dev/history/serve"
	"periplus.dev/projections"
	"periplus.dev/snapshots"
)

// Paths of what folds the log anew. Both want follow=true in the query, because
// they may last.
const (
	VerifyPath  = "/periplus/v1/verify"  // GET: a [controlplane.Report]
	RebuildPath = "/periplus/v1/rebuild" // POST: a [RebuildAnswer]
)

// RebuildAnswer is what rebuilding answers.
type RebuildAnswer struct {
	controlplane.Report

	// Snapshot is the sequence of the only snapshot there is now; 0 if none could
	// be made of the log, and nothing was changed.
	Snapshot uint64 `json:"snapshot"`
}

// LoadWorld is where the fold of a log can begin: the World of the newest snapshot
// that nothing speaks against. What was passed over is reported. The error is a
// [snapshots.AheadError] if the log has lost events that a snapshot knows of.
func LoadWorld(ctx context.Context, store *snapshots.Store, log snapshots.Log, logger *zap.Logger) (*projections.World, error) {
	// All that is made now stays: looking for what does not would find nothing.
	const seldom = 400
	before := debug.SetGCPercent(seldom)
	w, ignored, err := store.Load(ctx, log)
	debug.SetGCPercent(before)
	for _, i := range ignored {
		logger.Warn("a snapshot is passed over", zap.String("file", i.File), zap.Error(i.Why))
	}
	if err != nil {
		return nil, err
	}
	logger.Info("folding the log", zap.Uint64("after", w.Seq()))
	return w, nil
}

func (c *Cluster) snapshotter() *controlplane.Snapshotter {
	return controlplane.NewSnapshotter(controlplane.SnapshotterConfig{
		World: c.world, Save: c.saveSnapshot, Now: c.cfg.Now, Logger: c.cfg.Logger, Settle: c.settle(),
	})
}

// saveSnapshot leaves a suspended store alone.
func (c *Cluster) saveSnapshot(w *projections.World) error {
	if err := c.cfg.Snapshots.Save(w); !errors.Is(err, snapshots.ErrSuspended) {
		return err
	}
	return nil
}

// settle is how long it takes until an acknowledged event is on disk for sure.
func (c *Cluster) settle() time.Duration { return 2 * c.cfg.Unsynced }

// refolding makes a handler of what folds the log anew, once at a time.
func (c *Cluster) refolding(method string, answer func(context.Context) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(serve.HeaderVersion, c.cfg.Version)
		w.Header().Set("Cache-Control", "no-store")
		if r.Method != method {
			w.Header().Set("Allow", method)
			refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method+" is not supported on "+r.URL.Path+": use "+method)
			return
		}
		if err := badQuery(r); err != nil {
			refuse(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
			return
		}
		select {
		case c.verifying <- struct{}{}:
			defer func() { <-c.verifying }()
		default:
			refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "the log is being folded for somebody else: try again later")
			return
		}
		v, err := answer(r.Context())
		if err != nil {
			refuse(w, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/json")
		writeJSON(w, v)
	})
}

// badQuery refuses parameters but follow.
func badQuery(r *http.Request) error {
	for name, values := range r.URL.Query() {
		if name != "follow" {
			return fmt.Errorf("unknown parameter %q", name)
		}
		if _, err := strconv.ParseBool(values[0]); err != nil || len(values) > 1 {
			return fmt.Errorf("parameter follow=%q is neither true nor false", values)
		}
	}
	return nil
}

// verify holds the World that is served against the log.
func (c *Cluster) verify(ctx context.Context) (any, error) {
	report, _, err := c.holdAgainstLog(ctx)
	return report, err
}

// rebuild folds the log and leaves what it gives as the only snapshot.
func (c *Cluster) rebuild(ctx context.Context) (any, error) {
	report, refolded, err := c.holdAgainstLog(ctx)
	if err != nil {
		return nil, err
	}
	answer := RebuildAnswer{Report: report}
	if refolded == nil || c.cfg.Snapshots == nil {
		return answer, nil
	}
	select {
	case <-time.After(c.settle()):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := c.cfg.Snapshots.Replace(refolded); err != nil {
		return nil, err
	}
	answer.Snapshot = refolded.Seq()
	return answer, nil
}

// holdAgainstLog folds the log up to where the World is. A World that turns out to
// be wrong is handed on to no start.
func (c *Cluster) holdAgainstLog(ctx context.Context) (controlplane.Report, *projections.World, error) {
	report, refolded, err := controlplane.Verify(ctx, c.cfg.Log, c.world.Current())
	switch {
	case err != nil:
		return report, nil, fmt.Errorf("verify: %w", err)
	case report.OK:
		return report, refolded, nil
	}
	if c.cfg.Snapshots != nil {
		c.cfg.Snapshots.Suspend()
	}
	fields := []zap.Field{zap.Uint64("seq", report.To), zap.String("hash", report.Hash), zap.String("refolded", report.Refolded)}
	if report.Problem != "" {
		fields = append(fields, zap.String("problem", report.Problem))
	}
	if d := report.FirstDifference; d != nil {
		fields = append(fields, zap.String("object", d.Object), zap.String("how", d.How), zap.Uint64("objectSeq", d.Seq))
	}
	c.cfg.Logger.Error("the World is not what the log folds to", fields...)
	return report, refolded, nil
}
