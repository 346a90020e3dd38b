#!/usr/bin/env bash
# Runs each fuzz target of the module for a while, one after the other.
#
#   fuzz.sh [INPUTS|TIME]
#
# Without an argument 10000 inputs, 500 where an input is the whole life of a
# cluster. A number of inputs (5000x) is the better bound: with a time, go test may report
# its own deadline as a failure of the target when it strikes in mid-input.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
targets=$(grep -rhoH --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | sort)
if [[ -z $targets ]]; then
	note "no fuzz targets"
	exit 0
fi
while IFS=: read -r file target; do
	case $file in
	./reconcilers/*) inputs=500x ;;
	*) inputs=10000x ;;
	esac
	say "$(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-$inputs}" -fuzzminimizetime 20x "$(dirname "$file")"
done <<<"$targets"
