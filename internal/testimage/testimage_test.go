package testimage_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"periplus.dev/internal/testimage"
)

// file is what a layer has under a name.
type file struct {
	kind    byte
	mode    int64
	link    string
	content string
}

func TestBuildBinary(t *testing.T) {
	spec := testimage.Spec{
		Binary:       writeFile(t, "hello", "not really a program"),
		Links:        []string{"hi"},
		ExtraFiles:   map[string][]byte{"/srv/www/index.html": []byte("<p>")},
		Cmd:          []string{"-loud"},
		Env:          []string{"A=1"},
		WorkingDir:   "/srv",
		User:         "65534",
		ExposedPorts: []string{"80/tcp"},
	}
	image := build(t, spec)
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != runtime.GOARCH {
		t.Errorf("platform %s/%s", config.OS, config.Architecture)
	}
	want := v1.Config{
		Entrypoint:   []string{"/bin/hello"},
		Cmd:          []string{"-loud"},
		Env:          []string{"PATH=/bin", "A=1"},
		WorkingDir:   "/srv",
		User:         "65534",
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
	}
	if got := config.Config; !equalConfig(got, want) {
		t.Errorf("config %+v, want %+v", got, want)
	}
	files := unpack(t, image)
	for name, want := range map[string]file{
		"bin/":               {kind: tar.TypeDir, mode: 0o755},
		"bin/hello":          {kind: tar.TypeReg, mode: 0o755, content: "not really a program"},
		"bin/hi":             {kind: tar.TypeSymlink, mode: 0o777, link: "hello"},
		"srv/":               {kind: tar.TypeDir, mode: 0o755},
		"srv/www/":           {kind: tar.TypeDir, mode: 0o755},
		"srv/www/index.html": {kind: tar.TypeReg, mode: 0o644, content: "<p>"},
		"tmp/":               {kind: tar.TypeDir, mode: 0o1777},
	} {
		if files[name] != want {
			t.Errorf("%s is %+v, want %+v", name, files[name], want)
		}
	}
}

func equalConfig(a, b v1.Config) bool {
	return slices.Equal(a.Entrypoint, b.Entrypoint) && slices.Equal(a.Cmd, b.Cmd) && slices.Equal(a.Env, b.Env) &&
		a.WorkingDir == b.WorkingDir && a.User == b.User && maps.Equal(a.ExposedPorts, b.ExposedPorts)
}

// TestBuildProgram compiles the real thing, and runs what is in the image.
func TestBuildProgram(t *testing.T) {
	image := build(t, testimage.ToolboxSpec())
	checkSound(t, image)
	if again := build(t, testimage.ToolboxSpec()); digest(t, again) != digest(t, image) {
		t.Errorf("built twice: %s and %s", digest(t, image), digest(t, again))
	}
	files := unpack(t, image)
	program := filepath.Join(t.TempDir(), "toolbox")
	if err := os.WriteFile(program, []byte(files["bin/toolbox"].content), 0o700); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "linux" {
		t.Skipf("the program is for Linux, this is %s", runtime.GOOS)
	}
	out, err := exec.CommandContext(t.Context(), program, "echo", "it", "runs").CombinedOutput()
	if err != nil || string(out) != "it runs\n" {
		t.Errorf("the program gives %q, %v", out, err)
	}
}

func TestBuildRefuses(t *testing.T) {
	program := writeFile(t, "program", "x")
	for name, c := range map[string]struct {
		spec testimage.Spec
		says string
	}{
		"nothing to pack":     {testimage.Spec{}, "exactly one"},
		"two programs":        {testimage.Spec{ImportPath: ".", Binary: program}, "exactly one"},
		"no such binary":      {testimage.Spec{Binary: program + ".not"}, "no such file"},
		"no such package":     {testimage.Spec{ImportPath: "./nowhere"}, "compile ./nowhere"},
		"relative path":       {testimage.Spec{Binary: program, Path: "bin/x"}, "absolute path"},
		"file above the root": {testimage.Spec{Binary: program, ExtraFiles: map[string][]byte{"/../x": nil}}, "absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := testimage.Build(t.Context(), c.spec); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

// TestLayoutTar reads the tar with another implementation of the format.
func TestLayoutTar(t *testing.T) {
	images := map[string]v1.Image{
		"periplus.example/a:v1": build(t, testimage.Spec{Binary: writeFile(t, "a", "a")}),
		"periplus.example/b:v1": build(t, testimage.Spec{Binary: writeFile(t, "b", "b")}),
		"periplus.example/b:v2": build(t, testimage.Spec{Binary: writeFile(t, "b", "b")}),
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := testimage.WriteLayoutTar(out, images); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same images give another tar")
	}
	dir := t.TempDir()
	for name, f := range untar(t, &first) {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, []byte(f.content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]v1.Hash{}
	for _, descriptor := range manifest.Manifests {
		found[descriptor.Annotations["io.containerd.image.name"]] = descriptor.Digest
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		checkSound(t, image)
	}
	for ref, image := range images {
		if found[ref] != digest(t, image) {
			t.Errorf("%s has digest %s in the tar, want %s", ref, found[ref], digest(t, image))
		}
	}
}

func TestRegistry(t *testing.T) {
	registry, err := testimage.StartRegistry(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	image := build(t, testimage.Spec{Binary: writeFile(t, "nginx", "x")})
	for ref, pulled := range map[string]string{
		"nginx":                 "/library/nginx:latest",
		"docker.io/library/w:2": "/library/w:2",
		"quay.io/some/thing:v1": "/some/thing:v1",
		"some/other@" + digest(t, image).String(): "/some/other@" + digest(t, image).String(),
	} {
		if err := registry.Push(t.Context(), ref, image); err != nil {
			t.Fatal(err)
		}
		got, err := remote.Image(parse(t, registry.Host()+pulled), remote.WithContext(t.Context()))
		if err != nil {
			t.Errorf("pull %s: %v", pulled, err)
			continue
		}
		if digest(t, got) != digest(t, image) {
			t.Errorf("pull %s: digest %s, want %s", pulled, digest(t, got), digest(t, image))
		}
	}
	if err := registry.Push(t.Context(), "Not A Name", image); err == nil {
		t.Error("a wrong reference was pushed")
	}
	if err := registry.Close(); err != nil {
		t.Error(err)
	}
	if err := registry.Push(t.Context(), "nginx", image); err == nil {
		t.Error("the closed registry took an image")
	}
}

func TestRegistryCountsReads(t *testing.T) {
	registry, err := testimage.StartRegistry(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := registry.Push(t.Context(), "nginx", build(t, testimage.Spec{Binary: writeFile(t, "nginx", "x")})); err != nil {
		t.Fatal(err)
	}
	before := registry.ManifestReads("library/nginx")
	if _, err := remote.Image(parse(t, registry.Host()+"/library/nginx"), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := registry.ManifestReads("library/nginx") - before; n != 1 {
		t.Errorf("one pull counts as %d", n)
	}
	if n := registry.ManifestReads("library/other"); n != 0 {
		t.Errorf("another repository counts %d", n)
	}
}

func TestRegistryStaysOnLoopback(t *testing.T) {
	if _, err := testimage.StartRegistry(t.Context(), "0.0.0.0:0"); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("error %v, want one about loopback", err)
	}
	if _, err := testimage.StartRegistry(t.Context(), "nonsense"); err == nil {
		t.Error("an address that is none was taken")
	}
}

func build(t *testing.T, spec testimage.Spec) v1.Image {
	t.Helper()
	image, err := testimage.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func digest(t *testing.T, image v1.Image) v1.Hash {
	t.Helper()
	d, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// checkSound compares what the image says of itself with what it holds.
func checkSound(t *testing.T, image v1.Image) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != len(config.RootFS.DiffIDs) || len(layers) != len(manifest.Layers) {
		t.Fatalf("%d layers, but %d in the config and %d in the manifest", len(layers), len(config.RootFS.DiffIDs), len(manifest.Layers))
	}
	for i, layer := range layers {
		if got := hash(t, layer.Compressed); got != manifest.Layers[i].Digest {
			t.Errorf("layer %d has digest %s, the manifest says %s", i, got, manifest.Layers[i].Digest)
		}
		if got := hash(t, layer.Uncompressed); got != config.RootFS.DiffIDs[i] {
			t.Errorf("layer %d has diff id %s, the config says %s", i, got, config.RootFS.DiffIDs[i])
		}
	}
}

func hash(t *testing.T, open func() (io.ReadCloser, error)) v1.Hash {
	t.Helper()
	content, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	sum, _, err := v1.SHA256(content)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func parse(t *testing.T, ref string) name.Reference {
	t.Helper()
	parsed, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// unpack returns what a container of the image would see.
func unpack(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	rootfs := mutate.Extract(image)
	defer rootfs.Close()
	return untar(t, rootfs)
}

func untar(t *testing.T, r io.Reader) map[string]file {
	t.Helper()
	files := map[string]file{}
	for tr := tar.NewReader(r); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.IsZero() && header.ModTime.Unix() != 0 {
			t.Errorf("%s has time %v", header.Name, header.ModTime)
		}
		name := header.Name
		if header.Typeflag == tar.TypeDir && !strings.HasSuffix(name, "/") {
			name += "/" // some writers leave it out
		}
		files[name] = file{header.Typeflag, header.Mode, header.Linkname, string(content)}
	}
}
