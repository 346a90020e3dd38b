package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"periplus.dev/internal/cluster"
)

func newImageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load container images into the nodes",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImageLoadCommand())
	return cmd
}

func newImageLoadCommand() *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Load the images of a tar archive into every node",
		Long: `Load the images of a tar archive into every node of the cluster, so that pods can
use them without a registry (with imagePullPolicy IfNotPresent or Never). The
archive is an OCI image layout or what docker save writes.`,
		Example: `  periplus image load web.tar
  docker save web:v1 -o web.tar && periplus image load web.tar --data-dir ./.periplus`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("want one FILE, got %d arguments, see %s --help", len(args), cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return loadImages(cmd, conn, args[0]) },
	}
	conn.register(cmd.Flags())
	return cmd
}

func loadImages(cmd *cobra.Command, conn connection, file string) error {
	f, err := os.Open(file) //nolint:gosec // the user names the file
	if err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	defer func() { _ = f.Close() }()
	c, err := conn.client()
	if err != nil {
		return err
	}
	body, err := c.do(cmd.Context(), http.MethodPost, "/periplus/v1/images", f)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	var answer cluster.ImagesAnswer
	if err := json.NewDecoder(body).Decode(&answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	for _, ref := range answer.Images {
		cmd.Println("loaded", ref)
	}
	return nil
}
