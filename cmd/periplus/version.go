package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	historyapi "periplus.dev/history/serve"
)

// version of this program; the build sets it.
var version = "unknown"

// versions is the answer of the command: head is known of a server only.
type versions struct {
	Client historyapi.Version  `json:"client"`
	Server *historyapi.Version `json:"server,omitempty"`
}

func newVersionCommand() *cobra.Command {
	var (
		to     target
		out    output
		client bool
	)
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program and of the server",
		Long: `Print the version of this program and of the server, and how many events the
server's log has. A server that cannot be asked is an error only if it was named
by --data-dir or --kubeconfig.

` + targetHelp,
		Example: `  periplus version
  periplus version --client
  periplus version -o json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			all := versions{Client: historyapi.Version{Version: version, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}}
			var missing error
			if !client {
				if all.Server, missing = to.version(cmd.Context()); missing != nil && (to.dataDir != "" || to.kubeconfig != "") {
					return missing
				}
			}
			return all.write(cmd.OutOrStdout(), out.format, missing)
		},
	}
	to.addFlags(cmd)
	out.addFlag(cmd, asTable, asJSON, asYAML)
	cmd.Flags().BoolVar(&client, "client", false, "ask no server")
	return cmd
}

// version asks the server.
func (t *target) version(ctx context.Context) (*historyapi.Version, error) {
	c, err := t.connect()
	if err != nil {
		return nil, err
	}
	body, err := c.get(ctx, historyapi.VersionPath, nil)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	var v historyapi.Version
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return nil, fmt.Errorf("read version of %s: %w", c.base, err)
	}
	return &v, nil
}

func (v versions) write(w io.Writer, format string, missing error) error {
	switch format {
	case asJSON:
		return writeJSON(w, v)
	case asYAML:
		return writeYAML(w, v, false)
	}
	fmt.Fprintf(w, "client  %s (%s, %s)\n", v.Client.Version, v.Client.GoVersion, v.Client.Platform)
	switch {
	case v.Server != nil:
		fmt.Fprintf(w, "server  %s (%s, %s), %d events in its log\n", v.Server.Version, v.Server.GoVersion, v.Server.Platform, v.Server.Head)
	case missing != nil:
		fmt.Fprintf(w, "server  none: %v\n", missing)
	}
	return nil
}
