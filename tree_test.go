package periplus_test

import (
	"bytes"
	"go/ast"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxLines is the length from which on nobody reads a file to its end.
const maxLines = 600

// emptyNames say nothing of what a package provides.
var emptyNames = []string{"base", "common", "core", "helper", "helpers", "manager", "misc", "model", "models", "shared", "types", "util", "utils"}

// localPath finds places that exist on the machine of whoever wrote the line only.
var localPath = regexp.MustCompile(`(^|[^\w.~*-])/(work|farm)\b`)

func TestFileLength(t *testing.T) {
	for name, file := range goFiles(t) {
		if ast.IsGenerated(file) {
			continue
		}
		if n := fileSet.File(file.FileStart).LineCount(); n > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by noun or verb", name, n, maxLines)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for name, file := range goFiles(t) {
		pkg := strings.TrimSuffix(file.Name.Name, "_test")
		if slices.Contains(emptyNames, pkg) {
			t.Errorf("%s: package %s is not named for what it provides", name, pkg)
		}
		if dir := path.Base(path.Dir(name)); dir != "." && pkg != "main" && pkg != dir {
			t.Errorf("%s: package %s is in folder %s", name, pkg, dir)
		}
	}
}

func TestNoLocalPaths(t *testing.T) {
	for _, name := range repoFiles(t) {
		content := read(t, name)
		if !utf8.Valid(content) {
			continue
		}
		for i, line := range bytes.Split(content, []byte("\n")) {
			if found := localPath.Find(line); found != nil {
				t.Errorf("%s:%d: %q exists on one machine only", name, i+1, found)
			}
		}
	}
}

// TestDependenciesAreExplained holds docs/dependencies.md to go.mod: each module that
// is required directly has a line there, and no line speaks of a module that is gone.
func TestDependenciesAreExplained(t *testing.T) {
	direct, all := requirements(t)
	var explained []string
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
	for _, match := range row.FindAllSubmatch(read(t, "docs/dependencies.md"), -1) {
		explained = append(explained, string(match[1]))
	}
	for _, dependency := range direct {
		if !slices.Contains(explained, dependency) {
			t.Errorf("%s is required directly: docs/dependencies.md has no line for it", dependency)
		}
	}
	for _, dependency := range explained {
		if !slices.Contains(all, dependency) {
			t.Errorf("%s has a line in docs/dependencies.md: go.mod does not require it", dependency)
		}
	}
}

// requirements reads the modules that go.mod requires, those for our own imports apart.
func requirements(t *testing.T) (direct, all []string) {
	t.Helper()
	required := regexp.MustCompile(`^(?:require\s+|\t)([^\s()]+) v\S+( // indirect)?$`)
	for line := range strings.Lines(string(read(t, "go.mod"))) {
		match := required.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if match == nil {
			continue
		}
		all = append(all, match[1])
		if match[2] == "" {
			direct = append(direct, match[1])
		}
	}
	if len(direct) == 0 {
		t.Fatal("go.mod requires nothing: this test cannot read it")
	}
	return direct, all
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
