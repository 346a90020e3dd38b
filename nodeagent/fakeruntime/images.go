package fakeruntime

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"periplus.dev/nodeagent/image"
	"periplus.dev/nodeagent/runtime"
)

// imageBytes is how big every image is.
const imageBytes = 4 << 20

// Image implements [runtime.Images].
func (r *Runtime) Image(ctx context.Context, name string) (runtime.Image, bool, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return runtime.Image{}, false, err
	}
	if err := r.call(ctx, Call{Verb: "Image", Image: ref.String()}); err != nil {
		return runtime.Image{}, false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	img, ok := r.images[ref.String()]
	return img, ok, nil
}

// Pull implements [runtime.Images].
func (r *Runtime) Pull(ctx context.Context, name string) (runtime.Image, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return runtime.Image{}, err
	}
	if err := r.call(ctx, Call{Verb: "Pull", Image: ref.String()}); err != nil {
		return runtime.Image{}, fmt.Errorf("pull image %s: %w", ref, err)
	}
	if r.config.Missing(ref.String()) {
		return runtime.Image{}, fmt.Errorf("pull image %s: %w", ref, runtime.ErrImageNotFound)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.addImage(ref), nil
}

// addImage makes an image present; its digest follows from its name.
func (r *Runtime) addImage(ref image.Ref) runtime.Image {
	digest := ref.Digest
	if digest == "" {
		digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(ref.String())))
	}
	img := runtime.Image{Ref: ref.String(), ID: ref.ID(digest), Digest: digest, Bytes: imageBytes}
	_, img.Present = r.images[img.Ref]
	r.images[img.Ref] = img
	return img
}

// Import implements [runtime.Images]. Only names are read from the archive.
func (r *Runtime) Import(ctx context.Context, archive io.Reader) ([]runtime.Image, error) {
	if err := r.call(ctx, Call{Verb: "Import"}); err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	names, err := namesIn(archive)
	if err != nil {
		return nil, fmt.Errorf("import images: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Image
	for _, name := range names {
		ref, err := image.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("import images: %w", err)
		}
		out = append(out, r.addImage(ref))
	}
	return out, nil
}

// namesIn lists the names of the images in an archive, sorted.
func namesIn(archive io.Reader) ([]string, error) {
	var names []string
	seen := false
	for tr := tar.NewReader(archive); ; {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", runtime.ErrInvalidImage, err)
		}
		var more []string
		switch strings.TrimPrefix(header.Name, "./") {
		case "index.json":
			more, err = layoutNames(tr)
		case "manifest.json":
			more, err = savedNames(tr)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", runtime.ErrInvalidImage, header.Name, err)
		}
		seen = true
		names = append(names, more...)
	}
	if !seen {
		return nil, fmt.Errorf("%w: the archive is neither an OCI layout nor saved by docker", runtime.ErrInvalidImage)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// layoutNames reads the index of an OCI layout.
func layoutNames(r io.Reader) ([]string, error) {
	var index struct {
		Manifests []struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.NewDecoder(r).Decode(&index); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range index.Manifests {
		if name := m.Annotations["io.containerd.image.name"]; name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// savedNames reads the manifest of what docker save writes.
func savedNames(r io.Reader) ([]string, error) {
	var manifests []struct {
		RepoTags []string `json:"RepoTags"`
	}
	if err := json.NewDecoder(r).Decode(&manifests); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range manifests {
		names = append(names, m.RepoTags...)
	}
	return names, nil
}
