package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"periplus.dev/history"
	"periplus.dev/internal/cluster"
)

func newRebuildCommand() *cobra.Command {
	var (
		to  target
		out output
	)
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Fold the log anew and keep that for the next start",
		Long: `Let the server fold its log from the first event, compare the result with the World
that it answers from as periplus verify does, remove all snapshots and write one of
the result.

A World that turns out to be wrong is not replaced while requests, watches and
reconcilers are working with it: the exit status is 1, and the next start begins with
the new snapshot: periplus down, then periplus up.

` + reportHelp + `
Beside these there is snapshot: the sequence of the new snapshot, 0 if there is none.

` + targetHelp,
		Example: `  periplus rebuild
  periplus rebuild || { periplus down && periplus up --detach; }`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			answer, err := refolded[cluster.RebuildAnswer](cmd.Context(), to, http.MethodPost, cluster.RebuildPath)
			if err != nil {
				return err
			}
			if err := writeReport(cmd.OutOrStdout(), out.format, answer, answer.Report, answer.Snapshot); err != nil {
				return err
			}
			return afterRebuild(answer)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asJSON, asYAML)
	return cmd
}

// afterRebuild says what is left to do.
func afterRebuild(a cluster.RebuildAnswer) error {
	switch {
	case a.OK && a.Snapshot == 0 && a.To > 0:
		return errors.New("the server keeps no snapshots: there is nothing to rebuild")
	case a.OK:
		return nil
	case a.Snapshot > 0:
		return fmt.Errorf("%s. Start the cluster again: it will begin with the new snapshot", history.OneLine(whatIsWrong(a.Report)))
	default:
		return fmt.Errorf("%s. Nothing was changed", history.OneLine(whatIsWrong(a.Report)))
	}
}
