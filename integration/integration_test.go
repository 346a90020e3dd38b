// Package integration runs the stories a user could tell, with the binary and a
// kubectl that knows nothing of us. It holds tests only.
//
// Scripts (testdata/script) are stories; each runs on a cluster of its own:
//
//	any      twice: on a log in memory inside this process, and on the binary
//	         with JetStream and hollow nodes, run by an ordinary user
//	hollow   on the binary with hollow nodes, run by an ordinary user
//	real     on the binary with containerd, as root
//	alone    without a cluster, or with one that the script starts itself
//
// What a script cannot say is a test in Go (survive_test.go). What a script may
// say beside testscript's own commands stands in commands_test.go.
//
// Whatever a test starts it stops, and TestMain fails if anything is left on the
// machine: processes, mounts, interfaces, cgroups. Start at README.md.
package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// binaryVariable names a periplus that is already built; without it the tests
// build one.
const binaryVariable = "PERIPLUS_BIN"

// buildTimeout bounds the build of the binary, with an empty cache.
const buildTimeout = 15 * time.Minute

// tools are the programs the stories are told with.
type tools struct {
	root     string // the checkout
	top      string // of all files that the tests make; anybody may enter it
	periplus string // path of the binary
	kubectl  string // path, empty if there is none
}

// given is set before the first test runs, and never changed.
var given tools

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (status int) {
	ctx := context.Background()
	var err error
	if given, err = prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	// Where testscript makes its folders: with -run it forgets to remove the last one.
	if err := os.Setenv("GOTMPDIR", given.top); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	before := findLeftovers(given.top)
	status = m.Run()
	for _, l := range since(before, findLeftovers(given.top)) {
		err = errors.Join(err, fmt.Errorf("left behind: %s", l))
	}
	err = errors.Join(err, os.RemoveAll(given.top))
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	return status
}

// prepare finds kubectl and builds the binary.
func prepare(ctx context.Context) (tools, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return tools{}, err
	}
	t := tools{root: root}
	if t.top, err = os.MkdirTemp("", "ppit-"); err != nil { // short: a socket's path has 107 bytes
		return tools{}, err
	}
	if err := os.Chmod(t.top, 0o755); err != nil {
		return tools{}, err
	}
	t.kubectl = findKubectl(root)
	t.periplus = filepath.Join(t.top, "bin", "periplus")
	if err := os.Mkdir(filepath.Dir(t.periplus), 0o755); err != nil {
		return tools{}, err
	}
	if built := os.Getenv(binaryVariable); built != "" {
		// A copy: an ordinary user need not be able to reach the checkout.
		return t, copyFile(t.periplus, built)
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", t.periplus, "./cmd/periplus")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return tools{}, errors.Join(fmt.Errorf("build periplus: %w: %s", err, out), os.RemoveAll(t.top))
	}
	return t, nil
}

// findKubectl returns the kubectl on PATH, else the one that make setup builds.
func findKubectl(root string) string {
	if found, err := exec.LookPath("kubectl"); err == nil {
		return found
	}
	if built := filepath.Join(root, "bin", "kubectl"); exec.Command(built, "version", "--client").Run() == nil {
		return built
	}
	return ""
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return os.WriteFile(to, content, 0o755)
}

// needKubectl skips a test where there is no kubectl.
func needKubectl(t *testing.T) {
	t.Helper()
	if given.kubectl == "" {
		t.Skip("skipped: there is no kubectl, neither on PATH nor in bin; run make setup")
	}
}

// needRealNode skips a test where containers cannot be run.
func needRealNode(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("skipped: real containers need root")
	}
	for _, program := range []string{"containerd", "runc", "nft"} {
		if !onHost(program) {
			t.Skipf("skipped: real containers need %s; run make setup", program)
		}
	}
}

// onHost reports whether a program is there; an ordinary PATH may leave sbin out.
func onHost(program string) bool {
	if _, err := exec.LookPath(program); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return true
		}
	}
	return false
}
