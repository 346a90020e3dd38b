// Package examples_test checks what every example promises: that Kubernetes would
// take its manifests as they are.
package examples_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// TestManifests decodes each document as strictly as `kubectl apply` has it done:
// an unknown or doubled field is an error.
func TestManifests(t *testing.T) {
	names, err := filepath.Glob("*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatal("no example has a manifest")
	}
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := decodeAll(t, strict, content); n == 0 {
				t.Error("no object in it")
			}
		})
	}
}

// decodeAll decodes the documents of a file and returns their number.
func decodeAll(t *testing.T, decoder runtime.Decoder, content []byte) int {
	t.Helper()
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for n := 0; ; n++ {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decoder.Decode(document, nil, nil); err != nil {
			t.Errorf("document %d: %v", n+1, err)
		}
	}
}
