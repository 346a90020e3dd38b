// Command periplus is the whole of Periplus in one binary: the log, the
// Kubernetes API, the reconcilers, the node agent, and the tools that read
// history. A file per subcommand; this package only wires.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(os.Stderr, "periplus:", oneLine(err))
	var usage usageError
	if errors.As(err, &usage) || isCobraUsage(err) {
		return exitUsage
	}
	return exitFailed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "periplus",
		Short: "A container orchestrator that keeps its whole history",
		Long: `Periplus runs containers on real nodes, speaks the Kubernetes API, and keeps the
complete history of every object: who changed what, why, and what followed.

Its only truth is an append-only log of events; everything else is folded from it.`,
		Example: `  periplus up --detach                       start a cluster in the background
  kubectl --kubeconfig DIR/kubeconfig apply -f web.yaml
  periplus history deployment/web            everything that ever happened to it
  periplus why pod/web-5d4f-abcde            the chain of causes back to a person
  periplus down                              stop; containers go on running`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, // without it an unknown command would be no error
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%v", err) })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newUpCommand(), newDownCommand(), newImageCommand(),
		newHistoryCommand(), newWhyCommand(), newTailCommand(), newVerifyCommand(), newRebuildCommand(), newVersionCommand())
	return root
}

// isCobraUsage recognises cobra's own complaints, which have no type.
func isCobraUsage(err error) bool {
	s := err.Error()
	return strings.HasPrefix(s, "unknown command") || strings.HasPrefix(s, "unknown flag") || strings.Contains(s, "arg(s)")
}

func oneLine(err error) string { return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ") }
