package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"periplus.dev/internal/cluster"
)

func newImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load container images into the nodes",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageLoadCommand())
	return cmd
}

func newImageLoadCommand() *cobra.Command {
	var to target
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Load the images of a tar archive into every node",
		Long: `Load the images of a tar archive into every node of the cluster, so that pods can
use them without a registry (with imagePullPolicy IfNotPresent or Never). The
archive is an OCI image layout or what docker save writes.

` + targetHelp,
		Example: `  periplus image load web.tar
  docker save web:v1 -o web.tar && periplus image load web.tar --data-dir ./.periplus`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one FILE, got %d arguments, see %s --help", len(args), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return loadImages(cmd, to, args[0]) },
	}
	to.addFlags(cmd)
	return cmd
}

func loadImages(cmd *cobra.Command, to target, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	defer func() { _ = f.Close() }()
	c, err := to.connect()
	if err != nil {
		return err
	}
	body, err := c.post(cmd.Context(), cluster.ImagesPath, f)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	var answer cluster.ImagesAnswer
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	for _, ref := range answer.Images {
		fmt.Fprintln(cmd.OutOrStdout(), "loaded", ref)
	}
	return nil
}

// post sends a body to a path of the server. The caller closes the answer.
func (c *client) post(ctx context.Context, path string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	req.Header.Set("Content-Type", "application/x-tar")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, c.refused(res)
}
