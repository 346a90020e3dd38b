#!/usr/bin/env bash
# Everything that can be said about the code without running it: format, vet, lint,
# and the rules of layers_test.go.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
scripts/setup.sh lint

say "format"
unformatted=$(find . -name '*.go' -not -path './.periplus/*' -print0 | xargs -0 gofmt -l)
[[ -z $unformatted ]] || die "not formatted, run gofmt -w on: $unformatted"

say "scripts"
if have shellcheck; then
	shellcheck -x scripts/*.sh .ci/run
else
	note "shellcheck is not installed: the scripts were not checked"
fi

say "vet"
go vet ./...

say "lint"
bin/golangci-lint run ./...

say "layers"
go test .

say "go.mod"
go mod tidy -diff || die "go.mod is not tidy: run go mod tidy"
