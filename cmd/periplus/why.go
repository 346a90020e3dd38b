package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"periplus.dev/history"
	historyapi "periplus.dev/history/serve"
)

func newWhyCommand() *cobra.Command {
	var (
		to        target
		out       output
		namespace string
		last      bool
	)
	cmd := &cobra.Command{
		Use:   "why OBJ|SEQ",
		Short: "Print the chain of causes behind an object or an event",
		Long: `Print what caused an event, what caused that, and so on, back to a person's request
or to the physical world: effect first.

SEQ is an event's sequence. For an object it is the event that brought it into being,
or, if it is no more, the one that ended it; with --last, the newest one.
` + objectHelp + `

With -o json it is one array, with the keys of history -o json in each element.

` + targetHelp,
		Example: `  periplus why pod/web-5d78c9-x2v4k
  periplus why deployment/web --last
  periplus why 1042
  periplus why pod/web-5d78c9-x2v4k -o json | jq -r '.[].actor'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if _, ok := sequence(args); ok {
				return nil
			}
			return oneObject(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			seq, isSeq := sequence(args)
			if isSeq && last {
				return usagef("--last needs an object; %d is an event", seq)
			}
			c, err := to.connect()
			if err != nil {
				return err
			}
			query := url.Values{"format": {out.fetch()}}
			if isSeq {
				query.Set("seq", strconv.FormatUint(seq, 10))
			} else {
				key, err := c.object(args, namespace)
				if err != nil {
					return err
				}
				query.Set("object", key.String())
				query.Set("last", strconv.FormatBool(last))
			}
			body, err := c.get(cmd.Context(), historyapi.WhyPath, query)
			if err != nil {
				return err
			}
			defer body.Close()
			return out.why(cmd.OutOrStdout(), body)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asJSON, asYAML)
	addNamespace(cmd, &namespace)
	cmd.Flags().BoolVar(&last, "last", false, "explain the newest event of the object")
	return cmd
}

// sequence is the argument as a sequence, if it is one.
func sequence(args []string) (uint64, bool) {
	if len(args) != 1 {
		return 0, false
	}
	seq, err := strconv.ParseUint(args[0], 10, 63)
	return seq, err == nil
}

// why writes a chain of causes.
func (o *output) why(w io.Writer, body io.Reader) error {
	raw, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	switch o.format {
	case asJSON:
		_, err := w.Write(raw)
		return err
	case asYAML:
		return writeYAML(w, json.RawMessage(raw), false)
	}
	chain, err := decode[[]history.Told](raw)
	if err != nil {
		return err
	}
	return drawChain(w, paintFor(w), chain)
}

// deepest is how far causes are indented; what is further back stands below it.
const deepest = 12

// drawChain draws causes as branches below their effects, the origin at the end.
func drawChain(w io.Writer, p paint, chain []history.Told) error {
	var entries []history.Entry
	var b strings.Builder
	for i, e := range chain {
		entries = append(entries, e.Entry)
		fmt.Fprintf(&b, "%s%d  %s  %s  %s\n", branch(p, i), e.Seq, objectOf(e.Entry), p.event(e), p.what(e))
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", indent(i+1)),
			p.in(grey, fmt.Sprintf("by %s, %s", history.OneLine(e.Actor), e.Time.UTC().Format(time.RFC3339))))
	}
	fmt.Fprintf(&b, "%s%s\n", branch(p, len(chain)), history.Origin(entries))
	_, err := io.WriteString(w, b.String())
	return err
}

func indent(depth int) int { return 3 * min(depth, deepest) }

func branch(p paint, depth int) string {
	if depth == 0 {
		return ""
	}
	return strings.Repeat(" ", indent(depth-1)) + p.in(grey, "└─ ")
}
