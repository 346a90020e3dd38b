// Command mkimage packs a Go program into a container image, as a tar that
// `periplus image load` takes:
//
//	mkimage -program ./examples/web -ref periplus.example/web:v1 -o web.tar
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"periplus.dev/internal/testimage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	program := flag.String("program", "", "Go package to compile, such as ./examples/web")
	ref := flag.String("ref", "", "name of the image, such as periplus.example/web:v1")
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if *program == "" || *ref == "" || *out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	err := pack(ctx, *program, *ref, *out)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "mkimage: %v\n", err)
		os.Exit(1)
	}
}

// pack writes the image of a program to a file.
func pack(ctx context.Context, program, ref, out string) error {
	image, err := testimage.Build(ctx, testimage.Spec{ImportPath: program})
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	return errors.Join(testimage.WriteLayoutTar(file, map[string]v1.Image{ref: image}), file.Close())
}
