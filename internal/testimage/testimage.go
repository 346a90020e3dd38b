// Package testimage makes container images out of our own Go programs, so that
// tests, examples and a machine without a network have something real to run.
//
// It promises that the same program and the same Spec give the same digest, on
// one checkout with one Go toolchain: no time, user or host enters an image. What
// keeps the promise is that every file has the zero time and every list an order.
//
// Start at Build; then WriteLayoutTar for `periplus image load`, or StartRegistry
// and Push for images that are pulled.
package testimage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Toolbox is the import path of the program with which tests fill their
// containers: see its package comment for what it can do.
const Toolbox = "periplus.dev/internal/testimage/cmd/toolbox"

// Spec says what an image holds. Exactly one of ImportPath and Binary is given.
type Spec struct {
	// ImportPath names a Go package to compile, as `go build` takes it.
	ImportPath string
	// Binary is the path of a program that is already compiled, statically linked.
	Binary string
	// Dir is where `go build` runs; empty means the current directory.
	Dir string

	// Path is the program's place in the image; empty means /bin and the
	// program's own name.
	Path string
	// Links are further names for the program: symbolic links beside it.
	Links []string
	// ExtraFiles are written beside the program: absolute path to content.
	ExtraFiles map[string][]byte

	// Entrypoint is what a container runs; nil means the program.
	Entrypoint []string
	// Cmd holds the entry point's default arguments.
	Cmd []string
	// Env holds NAME=VALUE pairs; PATH is set to /bin where they don't name it.
	Env []string
	// WorkingDir is where the entry point starts; empty means the root.
	WorkingDir string
	// User is whom the entry point runs as, in the image format's own form.
	User string
	// ExposedPorts are declared by the image, such as 8080/tcp.
	ExposedPorts []string
}

// ToolboxSpec describes the image of the toolbox: each of its subcommands can be
// run by its own name, and without a command it sleeps until it is told to stop.
func ToolboxSpec() Spec {
	return Spec{
		ImportPath: Toolbox,
		Links: []string{
			"burn", "cat", "eat-memory", "echo", "env", "exit", "false", "get", "hostname", "http",
			"id", "ls", "print-lines", "pwd", "sleep", "stubborn", "true", "tty", "write",
		},
		Cmd: []string{"sleep", "infinity"},
	}
}

// Build compiles the program, where it isn't compiled yet, and returns an image
// of one layer for Linux on this machine's architecture. Nothing is pulled.
func Build(ctx context.Context, s Spec) (v1.Image, error) {
	if (s.ImportPath == "") == (s.Binary == "") {
		return nil, fmt.Errorf("image spec: want exactly one of an import path and a binary, got %q and %q", s.ImportPath, s.Binary)
	}
	program, name, err := readProgram(ctx, s)
	if err != nil {
		return nil, err
	}
	s = s.withDefaults(name)
	layer, err := buildLayer(s, program)
	if err != nil {
		return nil, fmt.Errorf("build layer of %s: %w", name, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return nil, fmt.Errorf("append layer of %s: %w", name, err)
	}
	image, err = configure(image, s)
	if err != nil {
		return nil, fmt.Errorf("configure image of %s: %w", name, err)
	}
	return image, nil
}

// withDefaults fills what the caller left open.
func (s Spec) withDefaults(name string) Spec {
	if s.Path == "" {
		s.Path = path.Join("/bin", name)
	}
	if s.Entrypoint == nil {
		s.Entrypoint = []string{s.Path}
	}
	if !slices.ContainsFunc(s.Env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		s.Env = append([]string{"PATH=/bin"}, s.Env...)
	}
	return s
}

// readProgram returns the program's bytes and the name it has by itself.
func readProgram(ctx context.Context, s Spec) ([]byte, string, error) {
	if s.Binary != "" {
		program, err := os.ReadFile(s.Binary)
		return program, filepath.Base(s.Binary), err
	}
	abs, err := filepath.Abs(filepath.Join(s.Dir, s.ImportPath)) // "." and ".." have no name of their own
	if err != nil {
		return nil, "", err
	}
	program, err := compile(ctx, s)
	return program, filepath.Base(abs), err
}

// compile builds a static program with the flags that everything here is built
// with, so that the compiler's cache serves all. No commit is stamped into it:
// the digest would change with every commit.
func compile(ctx context.Context, s Spec) ([]byte, error) {
	dir, err := os.MkdirTemp("", "periplus-testimage-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", out, s.ImportPath)
	cmd.Dir = s.Dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w: %s", s.ImportPath, err, strings.TrimSpace(string(text)))
	}
	return os.ReadFile(out)
}

// configure writes the image's config: the same fields as a Dockerfile would set.
func configure(image v1.Image, s Spec) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{
		Entrypoint: s.Entrypoint,
		Cmd:        s.Cmd,
		Env:        s.Env,
		WorkingDir: s.WorkingDir,
		User:       s.User,
	}
	if len(s.ExposedPorts) > 0 {
		file.Config.ExposedPorts = map[string]struct{}{}
	}
	for _, port := range s.ExposedPorts {
		file.Config.ExposedPorts[port] = struct{}{}
	}
	return mutate.ConfigFile(image, file)
}
