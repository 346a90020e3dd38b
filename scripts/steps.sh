#!/usr/bin/env bash
# Runs make targets one after the other, says which, and how long each took.
# The first that fails ends it.
#
#   steps.sh TARGET...
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$root"
done_steps=0
for step in "$@"; do
	done_steps=$((done_steps + 1))
	say "[$done_steps/$#] $step"
	begin=$SECONDS
	make --no-print-directory "$step" || die "[$done_steps/$#] $step failed after $((SECONDS - begin))s"
	say "[$done_steps/$#] $step: done in $((SECONDS - begin))s"
done
say "all $# steps done in ${SECONDS}s"
