package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"periplus.dev/history"
	historyapi "periplus.dev/history/serve"
)

// recent is how many events tail begins with if nobody says where.
const recent = 10

func newTailCommand() *cobra.Command {
	var (
		to       target
		out      output
		from     uint64
		last     uint
		follow   bool
		noFollow bool
	)
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the log, and go on as it grows",
		Long: `Print the newest events of the whole cluster, and each new one as it is recorded,
until it is interrupted.

With -o json there is one event a line, with the keys of history -o json; with
-o yaml one document each; with -o cloudevents one CloudEvent a line, in the JSON
format of CloudEvents 1.0, with the whole payload. Secret values are sealed.

` + targetHelp,
		Example: `  periplus tail
  periplus tail --from 1 --no-follow
  periplus tail -o json | jq -r 'select(.actor | startswith("user:")) | .object'
  periplus tail --from 1042 -o cloudevents`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := cmd.Flags()
			switch {
			case out.check() != nil:
				return out.check()
			case flags.Changed("from") && flags.Changed("last"):
				return usagef("give either --from or --last")
			case noFollow && flags.Changed("follow") && follow:
				return usagef("give either --follow or --no-follow")
			}
			c, err := to.connect()
			if err != nil {
				return err
			}
			query := url.Values{"format": {out.fetch()}, "follow": {strconv.FormatBool(follow && !noFollow)}}
			if flags.Changed("from") {
				query.Set("from", strconv.FormatUint(from, 10))
			} else {
				query.Set("last", strconv.FormatUint(uint64(last), 10))
			}
			return out.tail(cmd.Context(), cmd.OutOrStdout(), c, query)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asJSON, asYAML, asCloudEvents)
	flags := cmd.Flags()
	flags.Uint64Var(&from, "from", 0, "begin with the event of this `SEQ`")
	flags.UintVar(&last, "last", recent, "begin with the newest `N` events")
	flags.BoolVarP(&follow, "follow", "f", true, "go on with new events as they come")
	flags.BoolVar(&noFollow, "no-follow", false, "end with the newest event that there is now")
	return cmd
}

// tail writes events as they come. To be interrupted is how it ends.
func (o *output) tail(ctx context.Context, w io.Writer, c *client, query url.Values) error {
	body, err := c.get(ctx, historyapi.TailPath, query)
	if err != nil {
		if ctx.Err() != nil {
			return nil // somebody ended it
		}
		return err
	}
	defer body.Close()
	t := rows{out: w, paint: paintFor(w), flowing: true,
		columns: []column{columnSeq, columnTime, columnSpace, columnObject, columnEvent, columnBy, columnWhat}}
	seen := uint64(0)
	err = eachLine(body, func(line []byte) error {
		e, err := decode[position](line)
		if err != nil {
			return err
		}
		seen = max(seen, e.at())
		if !o.human() {
			return o.document(w, line)
		}
		told, err := decode[history.Told](line)
		if err != nil {
			return err
		}
		return t.write(told)
	})
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil && query.Get("follow") == "true":
		err = errEnded
	}
	if errors.Is(err, errEnded) && seen > 0 {
		return fmt.Errorf("%w; go on with --from %d", err, seen+1)
	}
	return err
}

// position is where an event stands, in whatever format.
type position struct {
	Seq      uint64 `json:"seq"`
	Sequence string `json:"sequence"` // of a CloudEvent
}

func (p position) at() uint64 {
	if n, err := strconv.ParseUint(p.Sequence, 10, 64); err == nil {
		return n
	}
	return p.Seq
}
