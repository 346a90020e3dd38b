package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/zapr"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/zap"
	"k8s.io/klog/v2"

	"periplus.dev/internal/testimage"
)

// scriptsTimeout bounds all scripts of one test together.
const scriptsTimeout = 8 * time.Minute

// carryOn shows all that is wrong with a script at once.
var carryOn = flag.Bool("continue", false, "go on with a script after its first failure")

// TestMemory tells the stories of any cluster on a log in memory.
func TestMemory(t *testing.T) {
	needKubectl(t)
	klog.SetLogger(zapr.NewLogger(zap.NewNop())) // the API server's own words are in the binary's log
	runScripts(t, "any", func() (world, error) { return newInMemory() })
}

// TestHollow tells them, and those of hollow nodes, on the binary, JetStream and
// an ordinary user.
func TestHollow(t *testing.T) {
	needKubectl(t)
	start := func() (world, error) { return newHollow() }
	t.Run("any", func(t *testing.T) { runScripts(t, "any", start) })
	t.Run("hollow", func(t *testing.T) { runScripts(t, "hollow", start) })
}

// TestReal tells the stories of real containers.
func TestReal(t *testing.T) {
	needKubectl(t)
	needRealNode(t)
	registry := startRegistry(t)
	var nodes atomic.Int32
	runScripts(t, "real", func() (world, error) { return realNode(int(nodes.Add(1)), registry.URL()) }, registry)
}

// TestAlone tells the stories of a command line without a cluster.
func TestAlone(t *testing.T) {
	needKubectl(t)
	runScripts(t, "alone", nil)
}

// runScripts runs the scripts of a folder, one after the other: each cluster has
// the machine for itself.
func runScripts(t *testing.T, folder string, start func() (world, error), registry ...*testimage.Registry) {
	t.Helper()
	testscript.RunT(inTurn{t}, testscript.Params{
		Dir:                 filepath.Join("testdata", "script", folder),
		Deadline:            time.Now().Add(scriptsTimeout),
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Cmds:                commands(),
		Condition:           condition,
		ContinueOnError:     *carryOn,
		Setup: func(env *testscript.Env) error {
			for _, r := range registry {
				env.Values[theRegistry] = r
			}
			return setUp(env, start)
		},
	})
}

// condition knows [root]: the tests are root, so that they can run a program as
// somebody else.
func condition(text string) (bool, error) {
	if text == "root" {
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", text)
}

// inTurn is a test whose parts never run at the same time.
type inTurn struct{ *testing.T }

func (t inTurn) Parallel()     {}
func (t inTurn) Verbose() bool { return testing.Verbose() }

func (t inTurn) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(t *testing.T) { f(inTurn{t}) })
}

// Keys of what a script's commands know.
type key string

const (
	theWorld     key = "world"
	theRegistry  key = "registry"
	theFollowers key = "followers"
	theMark      key = "mark"
)

// setUp gives a script its environment and, if it has one, its cluster:
//
//	$DIR         data directory of the cluster
//	$KUBECONFIG  of its administrator
//	$HOME        a folder of the script's own
//	$EXAMPLES    examples of the checkout
func setUp(env *testscript.Env, start func() (world, error)) error {
	// An ordinary user may read the script's files.
	if err := os.Chmod(filepath.Dir(env.WorkDir), 0o755); err != nil {
		return err
	}
	home := filepath.Join(env.WorkDir, ".home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("EXAMPLES", example(""))
	env.Setenv("PATH", filepath.Dir(given.periplus)+":"+filepath.Dir(given.kubectl)+":"+os.Getenv("PATH"))
	env.Values[theFollowers] = map[string]*follower{}
	env.Values[theMark] = new(uint64)
	if start == nil {
		return setUpAlone(env)
	}
	w, err := start()
	if err != nil {
		return err
	}
	env.Values[theWorld] = w
	env.Setenv("DIR", filepath.Dir(w.kubeconfig()))
	env.Setenv("KUBECONFIG", w.kubeconfig())
	ctx := context.Background()
	env.Defer(func() { endOf(env, w) })
	return w.up(ctx)
}

// endOf removes a script's cluster, and fails the script if it does not go.
func endOf(env *testscript.Env, w world) {
	err := stopFollowers(env.Values[theFollowers].(map[string]*follower))
	switch w := w.(type) {
	case *binary:
		err = errors.Join(err, w.end(context.Background()))
	case *inMemory:
		err = errors.Join(err, w.end(context.Background()))
	}
	if err != nil {
		env.T().Log("end of the cluster:", err)
		env.T().FailNow()
	}
}

// setUpAlone gives a script a folder that an ordinary user owns, and removes what
// the script started there.
func setUpAlone(env *testscript.Env) error {
	b := &binary{ordinary: true}
	if err := b.makeDir("alone"); err != nil {
		return err
	}
	env.Setenv("DIR", b.dir)
	env.Values[theWorld] = world(b)
	env.Defer(func() { endOf(env, b) })
	return nil
}
