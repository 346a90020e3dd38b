package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/go-logr/zapr"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

func newUpCommand() *cobra.Command {
	flags := &upFlags{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster in one process",
		Long: `Start the log, the Kubernetes API, the reconcilers and a node in one process.

The data directory holds kubeconfig, periplus.pid, periplus.log, log/ (the events),
snapshots/, keys/, pki/ and node/. Starting again on the same directory goes on where the
cluster stopped; running containers are taken back as they are.

A real node runs containers with containerd and needs root. With --hollow-nodes
the containers are only pretended, for trying things out and for tests.`,
		Example: `  periplus up --detach
  periplus up --data-dir ./demo --api-listen 127.0.0.1:0 --hollow-nodes 3 --detach
  periplus up --registry-mirror docker.io=http://127.0.0.1:5000`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.resolve(cmd.Flags())
			if err != nil {
				return err
			}
			return up(cmd.Context(), cmd, cfg, flags.detach)
		},
	}
	flags.register(cmd.Flags())
	return cmd
}

func up(ctx context.Context, cmd *cobra.Command, cfg upConfig, background bool) error {
	if cfg.HollowNodes == 0 && os.Geteuid() != 0 {
		return errors.New("a real node needs root: run as root, or use --hollow-nodes N for nodes on a fake runtime")
	}
	d := dataDir(cfg.DataDir)
	if background {
		if err := detach(ctx, d, withoutDetach(os.Args[1:])); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "cluster is ready\n\n  export KUBECONFIG=%s\n", d.kubeconfig())
		return nil
	}
	tell := announcer()
	err := serve(ctx, d, cfg, func() {
		if tell != nil {
			_, _ = io.WriteString(tell, "ready\n")
			_ = tell.Close()
			return
		}
		fmt.Fprintf(cmd.OutOrStdout(), "cluster is ready\n\n  export KUBECONFIG=%s\n", d.kubeconfig())
	})
	if err != nil && tell != nil {
		_, _ = io.WriteString(tell, oneLine(err)+"\n")
	}
	return err
}

// withoutDetach is the command line of the process in the background.
func withoutDetach(args []string) []string {
	out := make([]string, 0, len(args)+1)
	for _, a := range args {
		if a != "--detach" && a != "--detach=true" {
			out = append(out, a)
		}
	}
	return append(out, "--detach=false")
}

// serve runs the cluster until ctx ends. What can be refused is refused before
// anything is started.
func serve(ctx context.Context, d dataDir, cfg upConfig, ready func()) error {
	fresh := !isFile(d.pidFile())
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.APIListen)
	if err != nil {
		if fresh {
			d.forsake(d.pidFile())
		}
		return fmt.Errorf("listen for the API (--api-listen %s): %w", cfg.APIListen, err)
	}
	defer func() { _ = listener.Close() }()
	logger, err := newLogger(d)
	if err != nil {
		return err
	}
	defer func() { _ = logger.Sync() }()
	klog.SetLogger(zapr.NewLogger(logger.Named("kubeapi").WithOptions(zap.IncreaseLevel(zapcore.WarnLevel))))
	c, err := newCluster(ctx, d, cfg, listener, logger)
	if err != nil {
		return err
	}
	return c.run(ctx, ready)
}

// newLogger writes to the directory's log file and, in the foreground, to the
// standard error too.
func newLogger(d dataDir) (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.Sampling = nil
	cfg.EncoderConfig.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	cfg.OutputPaths = []string{d.logFile()}
	if info, err := os.Stdout.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		cfg.OutputPaths = append(cfg.OutputPaths, "stderr")
	}
	cfg.DisableStacktrace = true
	logger, err := cfg.Build()
	if err != nil {
		return nil, fmt.Errorf("open log file: %w", err)
	}
	return logger, nil
}
