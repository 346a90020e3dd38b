#!/usr/bin/env bash
# Runs each fuzz target of the module for a short time, one after the other.
#
#   fuzz.sh [TIME]
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
time=${1:-5s}
targets=$(grep -rhoH --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort)
if [[ -z $targets ]]; then
	note "no fuzz targets"
	exit 0
fi
while IFS=: read -r file target; do
	say "$(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")"
done <<<"$targets"
