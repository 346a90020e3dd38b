package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/history"
	historyapi "periplus.dev/history/serve"
)

func newHistoryCommand() *cobra.Command {
	var (
		to        target
		out       output
		namespace string
		limit     uint
	)
	cmd := &cobra.Command{
		Use:   "history OBJ",
		Short: "Print everything that ever happened to an object",
		Long: `Print everything that ever happened to an object, oldest first: when, what, on
whose behalf, and which event caused it.

` + objectHelp + `

With -o json there is one event a line, with seq, time, type, actor, reason, cause,
change, object and changed (paths of fields); with -o yaml one document each.

` + targetHelp,
		Example: `  periplus history deployment/web
  periplus history pod web-5d78c9-x2v4k -n shop -o wide
  periplus history node/n1 --limit 20
  periplus history deploy/web -o json | jq 'select(.type | contains("scaled"))'`,
		Args: oneObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			c, err := to.connect()
			if err != nil {
				return err
			}
			key, err := c.object(args, namespace)
			if err != nil {
				return err
			}
			query := url.Values{"object": {key.String()}, "format": {out.fetch()}}
			if limit > 0 {
				query.Set("limit", strconv.FormatUint(uint64(limit), 10))
			}
			body, err := c.get(cmd.Context(), historyapi.HistoryPath, query)
			if err != nil {
				return err
			}
			defer body.Close()
			return out.history(cmd.OutOrStdout(), body)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asWide, asJSON, asYAML)
	addNamespace(cmd, &namespace)
	cmd.Flags().UintVar(&limit, "limit", 0, "only the newest `N` events; 0 for all")
	return cmd
}

func addNamespace(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVarP(namespace, "namespace", "n", "", "the object's namespace; by default the kubeconfig's")
}

// fetch is the format that the server is asked for.
func (o *output) fetch() string {
	switch {
	case o.human():
		return historyapi.FormatTold
	case o.format == asCloudEvents:
		return historyapi.FormatCloudEvents
	default:
		return historyapi.FormatEntries
	}
}

// history writes the events of one object.
func (o *output) history(w io.Writer, body io.Reader) error {
	if !o.human() {
		return eachLine(body, func(line []byte) error { return o.document(w, line) })
	}
	var all []history.Told
	err := eachLine(body, func(line []byte) error {
		e, err := decode[history.Told](line)
		all = append(all, e)
		return err
	})
	if err != nil {
		return err
	}
	t := rows{out: w, paint: paintFor(w), columns: []column{columnSeq, columnTime, columnEvent, columnBy, columnCause, columnWhat}}
	if o.format == asWide {
		t.columns = append(t.columns, columnChangeSet, columnChanged)
	}
	return t.write(all...)
}

// document writes what the server sent on one line for a program to read.
func (o *output) document(w io.Writer, line []byte) error {
	if o.format == asYAML {
		return writeYAML(w, json.RawMessage(line), true)
	}
	_, err := w.Write(append(line, '\n'))
	return err
}

// errEnded says that a stream broke off, with the server's reason if it gave one.
var errEnded = errors.New("the server ended the stream")

// eachLine calls fn with each line. A Status among them is how the server says
// that it breaks off.
func eachLine(body io.Reader, fn func(line []byte) error) error {
	in := bufio.NewReader(body)
	for {
		line, err := in.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 && err == nil {
			if bytes.Contains(line, []byte(`"Status"`)) {
				if s, e := decode[metav1.Status](line); e == nil && s.Kind == "Status" && s.APIVersion == "v1" {
					return fmt.Errorf("%w: %s", errEnded, history.OneLine(s.Message))
				}
			}
			if err := fn(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errEnded, err)
		}
	}
}

func decode[T any](raw []byte) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("read answer: %w", err)
	}
	return v, nil
}
