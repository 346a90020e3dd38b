package periplus_test

import (
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pure lists the folders that fold and decide: time is an argument there, chance
// and the world outside don't exist. A tree ends in "/...".
var pure = []string{"events", "projections", "reconcilers/...", "nodeagent/lifecycle", "nodeagent/runtime", "nodeagent/image", "history"}

// impureImports are the packages through which the outside would come in.
var impureImports = []string{
	"math/rand/...", "crypto/rand",
	"os/...", "syscall", "io/ioutil", "net", "net/http/...", "net/rpc/...",
}

// impureNames are what a pure folder may not use of packages that it may import.
var impureNames = map[string][]string{
	"time": {"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"},
}

func TestPurity(t *testing.T) {
	for name, file := range goFiles(t) {
		if strings.HasSuffix(name, "_test.go") || !matchesAny(pure, path.Dir(name)) {
			continue
		}
		for _, imported := range imports(file) {
			if matchesAny(impureImports, imported) {
				t.Errorf("%s imports %s: a fold and a decision have no outside", name, imported)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: go statement: who acts is elsewhere", fileSet.Position(n.Pos()))
			case *ast.SelectorExpr:
				if pkg, ok := packageOf(file, n); ok && slices.Contains(impureNames[pkg], n.Sel.Name) {
					t.Errorf("%v: %s.%s: take it as an argument", fileSet.Position(n.Pos()), pkg, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestTestsWait holds that a test waits for something and never for a while: a
// sleep is allowed only where testing/synctest owns the clock. And that whoever
// reads the output of a skipped test learns why.
func TestTestsWait(t *testing.T) {
	for name, file := range goFiles(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		bubble := slices.Contains(imports(file), "testing/synctest")
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, _ := packageOf(file, called)
			switch {
			case pkg == "time" && called.Sel.Name == "Sleep" && !bubble:
				t.Errorf("%v: time.Sleep outside a synctest bubble", fileSet.Position(n.Pos()))
			case called.Sel.Name == "SkipNow", called.Sel.Name == "Skip" && len(call.Args) == 0:
				t.Errorf("%v: a test is skipped without a reason", fileSet.Position(n.Pos()))
			}
			return true
		})
	}
}

// packageOf returns the import path behind x in x.Name, if x is an imported package.
func packageOf(file *ast.File, selector *ast.SelectorExpr) (string, bool) {
	x, ok := selector.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return "", false
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == x.Name {
			return imported, true
		}
	}
	return "", false
}
