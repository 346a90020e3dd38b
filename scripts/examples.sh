#!/usr/bin/env bash
# Builds every example, packs each program into an image and validates the manifests.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT
go build ./examples/...
for program in examples/*/main.go; do
	name=$(basename "$(dirname "$program")")
	go run ./internal/testimage/cmd/mkimage -program "./examples/$name" -ref "periplus.example/$name:v1" -o "$images/$name.tar"
	tar -tf "$images/$name.tar" >/dev/null || die "the image of examples/$name is not a tar"
	note "examples/$name: image of $(($(stat -c %s "$images/$name.tar") / 1024)) KiB"
done
go test ./examples/...
