#!/usr/bin/env bash
# Makes this machine ready: installs what is missing, and only that.
#
#   setup.sh            packages and kubectl: what running Periplus needs
#   setup.sh packages   the host's packages
#   setup.sh kubectl    bin/kubectl, where no kubectl of 1.27 or later is on PATH
#   setup.sh lint       golangci-lint and shellcheck: what `make check` needs
#
# It may be run any number of times. Root is needed only if a package is missing.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What shows that a package is there, and the Debian package that brings it. A
# command, or a file if it begins with a slash. A containerd or runc from another
# vendor is as good as Debian's.
wanted=(
	containerd:containerd
	runc:runc
	nft:nftables
	ip:iproute2
	unshare:util-linux
	nsenter:util-linux
	ps:procps
	git:git
	curl:curl
	make:make
	gcc:gcc
	/usr/include/stdio.h:libc6-dev
	/etc/ssl/certs/ca-certificates.crt:ca-certificates
)

# missing_packages prints the packages for those of its arguments that are not there.
missing_packages() {
	local want mark
	for want in "$@"; do
		mark=${want%%:*}
		if [[ $mark == /* ]]; then
			[[ -e $mark ]] || echo "${want#*:}"
		else
			have "$mark" || echo "${want#*:}"
		fi
	done | sort -u
}

# apt_install installs packages without a question and without starting a daemon:
# each node runs a containerd of its own, and the package's would only be in the way.
apt_install() {
	local policy=/usr/sbin/policy-rc.d
	export DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes
	if [[ ! -e $policy ]]; then
		# shellcheck disable=SC2064 # the path of now is meant
		trap "rm -f $policy" EXIT
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 0755 "$policy"
	fi
	apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq update
	apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq install -y --no-install-recommends "$@" >/dev/null
	if [[ " $* " == *" containerd "* && -d /run/systemd/system ]]; then
		systemctl disable --quiet containerd.service || true
	fi
}

# install_packages installs what is missing of its arguments.
install_packages() {
	local missing
	missing=$(missing_packages "$@" | tr '\n' ' ')
	missing=${missing% }
	if [[ -z $missing ]]; then
		return 0
	fi
	have apt-get || die "this machine lacks: $missing. Install them with its own package manager, then try again."
	[[ $(id -u) -eq 0 ]] || die "this machine lacks: $missing. Installing them needs root: sudo make setup"
	say "installing $missing"
	# shellcheck disable=SC2086 # a list of package names
	apt_install $missing
}

# check_go sees that Go is there and can build this module; from 1.21 on, Go
# fetches by itself the toolchain that go.mod asks for, unless told not to.
check_go() {
	have go || die "this machine lacks Go: see https://go.dev/doc/install"
	(cd "$root" && go version >/dev/null) || die "this Go cannot build the module: see the line above"
}

setup_packages() {
	install_packages "${wanted[@]}"
	check_go
}

# build_tool builds a program of a module under tools/ into bin/.
build_tool() { # name, folder, package, ldflags
	say "building bin/$1 (once; takes some minutes)"
	go build -C "$root/tools/$2" -ldflags "$4" -o "$root/bin/$1" "$3"
}

# tool_version prints the version of a module that a module under tools/ requires.
tool_version() { # folder, module
	go list -C "$root/tools/$1" -m -f '{{.Version}}' "$2"
}

setup_kubectl() {
	local version
	if find_kubectl >/dev/null; then
		return 0
	fi
	check_go
	version=$(tool_version kubectl k8s.io/kubectl)
	build_tool kubectl kubectl . "-X k8s.io/component-base/version.gitVersion=v1.${version#v0.}"
}

setup_lint() {
	local version stamp module=github.com/golangci/golangci-lint/v2
	check_go
	if [[ $(id -u) -eq 0 ]] && have apt-get; then
		install_packages shellcheck:shellcheck
	fi
	version=$(tool_version lint "$module")
	stamp="$version $(go env GOVERSION)"
	if [[ -x $root/bin/golangci-lint && $(cat "$root/bin/.golangci-lint" 2>/dev/null) == "$stamp" ]]; then
		return 0
	fi
	build_tool golangci-lint lint "$module/cmd/golangci-lint" "-X main.version=${version#v}"
	echo "$stamp" >"$root/bin/.golangci-lint"
}

mkdir -p "$root/bin"
if [[ $# -eq 0 ]]; then
	set -- packages kubectl
fi
for part in "$@"; do
	case $part in
	packages | kubectl | lint) "setup_$part" ;;
	*) die "no such part: $part (packages, kubectl or lint)" ;;
	esac
done
