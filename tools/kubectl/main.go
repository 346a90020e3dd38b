// Command kubectl is the unmodified Kubernetes command line, for machines that
// have none: `make setup` builds it where no kubectl of 1.27 or later is found.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	util.CheckErr(cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()))
}
