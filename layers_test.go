// Package periplus_test holds the rules of this repository that no linter knows:
// who may import whom (layers_test.go), which folders are pure (purity_test.go)
// and what a file may not contain (tree_test.go).
package periplus_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "periplus.dev/"

// layer says what the Go files of a folder may import beside the standard library.
// Tests are free. An entry "folder" is that package, "folder/..." all below it too.
type layer struct {
	ours   []string // packages of this module
	theirs []string // of other modules
	any    bool     // the folder wires things together, or stands outside
}

// kubeData are the shapes of Kubernetes objects, used as plain data everywhere.
var kubeData = []string{"k8s.io/api/...", "k8s.io/apimachinery/..."}

// layers is the table of who may import whom. The longest matching folder decides;
// a star stands for one folder. What is not listed may not be there, so that a new
// folder is a decision.
var layers = map[string]layer{
	"cmd/periplus": {any: true},

	"events": {theirs: with(kubeData, "github.com/google/uuid")},
	"events/jetstream": {ours: []string{"events", "events/cloudevents"}, theirs: with(kubeData, "github.com/nats-io/...",
		"github.com/google/uuid", "github.com/minio/highwayhash", "go.uber.org/zap/...", "golang.org/x/sync/...", "golang.org/x/sys/...")},
	"events/cloudevents": {ours: []string{"events"}, theirs: []string{"github.com/cloudevents/sdk-go/v2/..."}},
	"events/memlog":      {ours: []string{"events"}},
	"events/logtest":     {ours: []string{"events"}, theirs: with(kubeData, "pgregory.net/rapid")},
	"schemas":            {ours: []string{"events"}, theirs: []string{"github.com/santhosh-tekuri/jsonschema/v6/..."}},
	"sealing":            {theirs: kubeData},

	"projections":   {ours: []string{"events"}, theirs: with(kubeData, "github.com/hashicorp/go-immutable-radix/v2", "github.com/tidwall/gjson", "k8s.io/component-helpers/resource")},
	"history/serve": {ours: []string{"events", "events/cloudevents", "projections", "history"}, theirs: with(kubeData, "go.uber.org/zap/...")},
	"history":       {ours: []string{"events", "projections"}, theirs: kubeData},
	"snapshots":     {ours: []string{"events", "projections"}},
	"reconcilers":   {ours: []string{"events", "projections"}, theirs: with(kubeData, "k8s.io/component-helpers/...")},
	"controlplane":  {ours: []string{"events", "projections", "reconcilers/...", "sealing"}, theirs: with(kubeData, "go.uber.org/zap/...", "golang.org/x/sync/...")},
	// A reconciler knows what all reconcilers share, and never another one.
	"reconcilers/*": {ours: []string{"events", "projections", "reconcilers"}, theirs: with(kubeData, "k8s.io/component-helpers/...")},

	"nodeagent":       {ours: []string{"events", "projections", "nodeagent/..."}, theirs: with(kubeData, "github.com/google/uuid", "go.uber.org/zap/...", "golang.org/x/sync/...", "golang.org/x/sys/...")},
	"nodeagent/image": {ours: []string{"events", "nodeagent/runtime"}, theirs: with(kubeData, "github.com/distribution/reference")},
	// Decisions speak of pods in the terms of the runtime's contract, which is as pure as they are.
	"nodeagent/lifecycle": {ours: []string{"events", "nodeagent/image", "nodeagent/runtime"}, theirs: kubeData},
	"nodeagent/runtime":   {ours: []string{"events"}, theirs: kubeData},
	"nodeagent/network":   {ours: []string{"events", "nodeagent/..."}, theirs: with(kubeData, "github.com/vishvananda/...", "golang.org/x/sys/...", "go.uber.org/zap/...")},
	"nodeagent/containerd": {ours: []string{"events", "nodeagent/..."}, theirs: with(kubeData,
		"github.com/containerd/...", "github.com/opencontainers/...", "github.com/distribution/reference", "github.com/moby/sys/...",
		"go.uber.org/zap/...", "golang.org/x/sync/...", "golang.org/x/sys/...")},

	"kubeapi": {ours: []string{"events", "projections", "sealing", "kubeapi/..."}, theirs: []string{
		"k8s.io/...", "sigs.k8s.io/...", "go.uber.org/zap/...", "github.com/go-logr/...",
		"github.com/distribution/reference", "github.com/google/uuid", "github.com/spf13/pflag", "golang.org/x/sync/..."}},

	"internal":    {any: true},
	"integration": {any: true},
	"tools":       {any: true}, // modules of their own
	"examples":    {},          // small programs that anybody can read
	".":           {},          // tests only
}

// exclusive names the modules that stay behind one folder, whatever layers says
// of the others: replacing one of them must be possible.
var exclusive = map[string]string{
	"github.com/nats-io/...":               "events/jetstream",
	"github.com/containerd/containerd/...": "nodeagent/containerd",
	"k8s.io/apiserver/...":                 "kubeapi",
}

func with(base []string, more ...string) []string { return slices.Concat(base, more) }

func TestLayers(t *testing.T) {
	for name, file := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") || insideTools(name) {
			continue
		}
		dir := path.Dir(name)
		folder, rule, ok := layerOf(dir)
		if !ok {
			t.Errorf("%s: no layer says what the folder %s may import; see layers_test.go", name, dir)
			continue
		}
		for _, imported := range imports(file) {
			if own, ok := strings.CutPrefix(imported, module); ok {
				if !rule.any && own != folder && !matchesAny(rule.ours, own) {
					t.Errorf("%s imports %s: %s may not", name, own, folder)
				}
				continue
			}
			if isStandard(imported) {
				continue
			}
			if !rule.any && !matchesAny(rule.theirs, imported) {
				t.Errorf("%s imports %s: %s may not", name, imported, folder)
			}
			for pattern, owner := range exclusive {
				if matches(pattern, imported) && !matches(owner+"/...", dir) {
					t.Errorf("%s imports %s: only %s may", name, imported, owner)
				}
			}
		}
	}
}

// TestLayersExist fails for a line of the tables that no longer speaks of anything.
func TestLayersExist(t *testing.T) {
	for pattern, owner := range exclusive {
		if _, ok := layers[owner]; !ok {
			t.Errorf("%s belongs to %s, which has no layer", pattern, owner)
		}
	}
	for name := range layers {
		for _, imported := range layers[name].ours {
			if _, _, ok := layerOf(strings.TrimSuffix(imported, "/...")); !ok {
				t.Errorf("%s may import %s, which has no layer", name, imported)
			}
		}
	}
}

// layerOf finds the rule for a folder: its own, or that of the nearest above it.
func layerOf(dir string) (folder string, rule layer, ok bool) {
	for ; ; dir = path.Dir(dir) {
		for _, name := range []string{dir, path.Join(path.Dir(dir), "*")} {
			if rule, ok := layers[name]; ok {
				return dir, rule, true
			}
		}
		if path.Dir(dir) == "." {
			return "", layer{}, false
		}
	}
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

func matches(pattern, pkg string) bool {
	tree, ok := strings.CutSuffix(pattern, "/...")
	return pkg == tree || ok && strings.HasPrefix(pkg, tree+"/")
}

// isStandard knows the standard library by its names having no host in them.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func imports(file *ast.File) []string {
	var all []string
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(spec.Path.Value + " passed the parser") // cannot be
		}
		all = append(all, imported)
	}
	return all
}

func insideTools(name string) bool { return strings.HasPrefix(name, "tools/") }

// goFiles parses every Go file of the checkout, by its path with slashes.
func goFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	for _, name := range repoFiles(t) {
		if !strings.HasSuffix(name, ".go") {
			continue
		}
		file, err := parser.ParseFile(fileSet, filepath.FromSlash(name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
	}
	return files
}

// fileSet knows the lines of all files that goFiles parsed.
var fileSet = token.NewFileSet()

// repoFiles lists the checkout's files with slashes; what git ignores is left out.
func repoFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".periplus", "bin"}, name):
			return fs.SkipDir
		case d.Type().IsRegular():
			files = append(files, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
