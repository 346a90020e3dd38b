package testimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerdName is the annotation under which containerd's import looks for the
// name an image shall have. Unlike the older tar formats an OCI layout keeps the
// manifest as it is, so the image has the same digest after the import.
const containerdName = "io.containerd.image.name"

// WriteLayoutTar writes the images as one tar of an OCI image layout, each under
// the name it is mapped from, a full reference such as periplus.example/web:v1.
// The same images give the same bytes.
func WriteLayoutTar(w io.Writer, images map[string]v1.Image) error {
	l := layout{tar: tar.NewWriter(w), written: map[string]bool{}}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, ref := range slices.Sorted(maps.Keys(images)) {
		descriptor, err := l.add(images[ref])
		if err != nil {
			return fmt.Errorf("write image %s: %w", ref, err)
		}
		descriptor.Annotations = map[string]string{containerdName: ref}
		index.Manifests = append(index.Manifests, descriptor)
	}
	if err := l.writeJSON(ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}); err != nil {
		return err
	}
	if err := l.writeJSON(ocispec.ImageIndexFile, index); err != nil {
		return err
	}
	return l.tar.Close()
}

// layout is a tar that is being written, and the blobs that are already in it.
type layout struct {
	tar     *tar.Writer
	written map[string]bool
}

// add writes an image's blobs and returns the descriptor of its manifest.
func (l *layout) add(image v1.Image) (v1.Descriptor, error) {
	layers, err := image.Layers()
	if err != nil {
		return v1.Descriptor{}, err
	}
	for _, layer := range layers {
		if err := l.addLayer(layer); err != nil {
			return v1.Descriptor{}, err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return v1.Descriptor{}, err
	}
	if _, err := l.addBlob(config); err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	digest, err := l.addBlob(manifest)
	if err != nil {
		return v1.Descriptor{}, err
	}
	mediaType, err := image.MediaType()
	return v1.Descriptor{MediaType: mediaType, Size: int64(len(manifest)), Digest: digest}, err
}

func (l *layout) addLayer(layer v1.Layer) error {
	packed, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer packed.Close()
	content, err := io.ReadAll(packed)
	if err != nil {
		return err
	}
	_, err = l.addBlob(content)
	return err
}

// addBlob writes content under its digest, once.
func (l *layout) addBlob(content []byte) (v1.Hash, error) {
	digest, _, err := v1.SHA256(bytes.NewReader(content))
	if err != nil || l.written[digest.Hex] {
		return digest, err
	}
	l.written[digest.Hex] = true
	return digest, l.write("blobs/sha256/"+digest.Hex, content)
}

func (l *layout) writeJSON(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return l.write(name, content)
}

func (l *layout) write(name string, content []byte) error {
	if err := l.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := l.tar.Write(content)
	return err
}
