package projections_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"periplus.dev/projections"
)

var update = flag.Bool("update", false, "write golden files anew; read them before you commit them")

// Whoever changes what a fold means has to say so, or snapshots of the old meaning
// would be taken for the new one: the World of a fixed log is what it was when
// FoldVersion was last raised.
func TestFoldVersionSaysWhatFoldsMean(t *testing.T) {
	j := &journey{world: projections.Empty(), now: start}
	j.begin()
	for pod, lives := range [][]string{
		{"requested", "unschedulable", "scheduled", "sandbox", "started", "exited", "started"},
		{"requested", "scheduled", "rejected"},
		{"requested", "scheduled", "sandbox", "started", "deleting", "gone", "requested"},
		{"requested", "reported"},
	} {
		for _, step := range lives {
			j.step(pod, step)
		}
	}
	got := fmt.Sprintf("fold version %d: %s\n", projections.FoldVersion, hashOf(t, j.world).Total)
	file := filepath.Join("testdata", "foldversion.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("a fixed log folds to\n%s, and it was\n%s. If that was meant, raise projections.FoldVersion and run: go test ./projections -run TestFoldVersion -update", got, want)
	}
}
