# shellcheck shell=bash
# What the scripts share: where the checkout is, and how a step is announced.
# Sourced, never run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root

# say announces a step.
say() {
	printf '\033[1m==>\033[0m %s\n' "$*"
}

# note adds a detail below a step.
note() {
	printf '    %s\n' "$*"
}

# die ends the script with a reason.
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# have reports whether a command can be found; sbin counts, because nft and ip
# live there and an ordinary user's PATH leaves it out.
have() {
	PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1
}

# kubectl_is_recent reports whether the given kubectl is 1.27 or later.
kubectl_is_recent() {
	local version major minor
	version=$("$1" version --client -o json 2>/dev/null |
		sed -n 's/.*"gitVersion": *"v\([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
	read -r major minor <<<"$version" || return 1
	[[ -n ${minor:-} ]] && ((major > 1 || minor >= 27))
}

# find_kubectl prints the kubectl to use: a recent one on PATH, else ours.
find_kubectl() {
	local found
	if found=$(command -v kubectl) && kubectl_is_recent "$found"; then
		echo "$found"
	elif [[ -x $root/bin/kubectl ]]; then
		echo "$root/bin/kubectl"
	else
		return 1
	fi
}
