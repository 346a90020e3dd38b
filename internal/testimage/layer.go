package testimage

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// entry is one file, link or folder of a layer.
type entry struct {
	mode    int64
	content []byte
	link    string // of a symbolic link: where it leads
}

// buildLayer packs the program, its links and the extra files into one layer.
func buildLayer(s Spec, program []byte) (v1.Layer, error) {
	entries := map[string]entry{ // what every image has beside its program, as any distribution would
		"etc/passwd": {mode: 0o644, content: []byte("root:x:0:0:root:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n")},
		"etc/group":  {mode: 0o644, content: []byte("root:x:0:\nnogroup:x:65534:\n")},
		"tmp/":       {mode: 0o1777},
	}
	for name, content := range s.ExtraFiles {
		rel, err := inImage(name)
		if err != nil {
			return nil, err
		}
		entries[rel] = entry{mode: 0o644, content: content}
	}
	rel, err := inImage(s.Path)
	if err != nil {
		return nil, err
	}
	for _, link := range s.Links {
		entries[path.Join(path.Dir(rel), link)] = entry{mode: 0o777, link: path.Base(rel)}
	}
	entries[rel] = entry{mode: 0o755, content: program}

	var packed bytes.Buffer
	if err := writeTar(&packed, entries); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
}

// inImage turns an absolute path of the image into the form that a tar has.
func inImage(name string) (string, error) {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" {
		return "", fmt.Errorf("path %q in an image: want a clean absolute path", name)
	}
	return strings.TrimPrefix(name, "/"), nil
}

// writeTar writes the entries in the order of their names, each folder before
// what is in it, without times and owners.
func writeTar(w io.Writer, entries map[string]entry) error {
	for name := range maps.Clone(entries) {
		for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if _, ok := entries[dir+"/"]; !ok {
				entries[dir+"/"] = entry{mode: 0o755}
			}
		}
	}
	tw := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		e := entries[name]
		header := &tar.Header{Name: name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		switch {
		case strings.HasSuffix(name, "/"):
			header.Typeflag = tar.TypeDir
		case e.link != "":
			header.Typeflag, header.Linkname = tar.TypeSymlink, e.link
		}
		if err := tw.WriteHeader(header); err != nil {
			return err
		}
		if _, err := tw.Write(e.content); err != nil {
			return err
		}
	}
	return tw.Close()
}
