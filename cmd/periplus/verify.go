package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"periplus.dev/controlplane"
	"periplus.dev/history"
	"periplus.dev/internal/cluster"
	"periplus.dev/projections"
)

// reportHelp tells what -o json writes of a [controlplane.Report].
const reportHelp = `With -o json or yaml there are ok, from and to (the events that were folded), hash
(of the World that is served), tables (the hash of each kind), refolded (the hash of
the log, if it is another), problem (why the log could not be folded so far, if so)
and firstDifference (null, or how, object, seq and fields).`

func newVerifyCommand() *cobra.Command {
	var (
		to  target
		out output
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that the state is what the log says",
		Long: `Let the server fold its log from the first event, beside the World that it answers
from, and compare the two at the same sequence: the hash of each kind of object, and
of everything. The cluster goes on meanwhile; the server needs as much memory again
as its World takes.

If they are not the same, the first object that differs is named, the server writes
no more snapshots of its World, and the exit status is 1: periplus rebuild, and a
restart, put that right.

` + reportHelp + `

` + targetHelp,
		Example: `  periplus verify
  periplus verify -o json | jq -r .hash`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			report, err := refolded[controlplane.Report](cmd.Context(), to, http.MethodGet, cluster.VerifyPath)
			if err != nil {
				return err
			}
			if err := writeReport(cmd.OutOrStdout(), out.format, report, report, 0); err != nil {
				return err
			}
			return wrong(report)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asJSON, asYAML)
	return cmd
}

// refolded asks the server for something that it folds its log for.
func refolded[T any](ctx context.Context, to target, method, path string) (T, error) {
	var answer T
	c, err := to.connect()
	if err != nil {
		return answer, err
	}
	body, err := c.send(ctx, method, path, url.Values{"follow": {"true"}})
	if err != nil {
		return answer, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read answer of %s: %w", c.base, err)
	}
	return answer, nil
}

// writeReport writes a report for people, or whole in another format; snapshot is
// the sequence of the snapshot that was written, 0 for none.
func writeReport(w io.Writer, format string, whole any, r controlplane.Report, snapshot uint64) error {
	switch format {
	case asJSON:
		return writeJSON(w, whole)
	case asYAML:
		return writeYAML(w, whole, false)
	}
	verdict := paintFor(w).in(green, "ok:") + " the World is what the log folds to"
	if !r.OK {
		verdict = paintFor(w).in(red, "not ok:") + " " + history.OneLine(whatIsWrong(r))
	}
	fmt.Fprintf(w, "%s\n\nevents    %d to %d\nhash      %s\n", verdict, r.From, r.To, r.Hash)
	if r.Refolded != "" {
		fmt.Fprintf(w, "refolded  %s\n", r.Refolded)
	}
	if snapshot > 0 {
		fmt.Fprintf(w, "snapshot  at event %d\n", snapshot)
	}
	if len(r.Tables) == 0 {
		return nil
	}
	t := table.NewWriter()
	t.SetStyle(kubectlStyle())
	t.SuppressTrailingSpaces()
	t.AppendHeader(table.Row{"resource", "hash"})
	for _, name := range slices.Sorted(maps.Keys(r.Tables)) {
		t.AppendRow(table.Row{history.OneLine(name), history.OneLine(r.Tables[name])})
	}
	_, err := fmt.Fprintf(w, "\n%s\n", t.Render())
	return err
}

// wrong makes an error of a report that is not ok.
func wrong(r controlplane.Report) error {
	if r.OK {
		return nil
	}
	return errors.New(history.OneLine(whatIsWrong(r)))
}

// whatIsWrong says it in a sentence.
func whatIsWrong(r controlplane.Report) string {
	if r.Problem != "" {
		return "the log cannot be folded to where the World is: " + r.Problem
	}
	said := "the World is not what the log folds to"
	d := r.FirstDifference
	if d == nil {
		return said
	}
	switch d.How {
	case projections.DiffersMissing:
		return fmt.Sprintf("%s: it lacks %s, as of event %d", said, d.Object, d.Seq)
	case projections.DiffersExtra:
		return fmt.Sprintf("%s: it has %s, as of event %d, which is not there", said, d.Object, d.Seq)
	case projections.DiffersContents:
		said = fmt.Sprintf("%s: %s, as of event %d, differs", said, d.Object, d.Seq)
		if len(d.Fields) > 0 {
			said += " in " + strings.Join(d.Fields, ", ")
		}
		return said
	default:
		return said + ": its objects are the same, what is kept beside them is not"
	}
}
