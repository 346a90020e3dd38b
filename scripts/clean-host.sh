#!/usr/bin/env bash
# Removes what a crashed run left on this host: processes, mounts, namespaces,
# interfaces, nftables tables and cgroups. It touches only what carries our marks:
#
#   processes    a containerd with a configuration that names periplus; shims of our
#                containerd namespace; whatever is in our cgroups
#   mounts       below a node's directory, and namespaces pinned as sandboxes are
#   namespaces   pp-*
#   interfaces   veth pairs pp*
#   nftables     tables periplus*
#   cgroups      periplus*
#
# Files stay: `periplus down --purge` removes them, or you. A Periplus that is still
# running is left alone, and so is everything else then; FORCE=1 ends it too.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

removed=0

# removing announces one thing and counts it.
removing() {
	note "$*"
	removed=$((removed + 1))
}

# arguments prints the command line of a process, one argument a line; nothing if it is gone.
arguments() {
	tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null || true
}

# option prints what follows an option in a command line read from the input.
option() { # names of the option, as a pattern
	sed -nE "/^($1)\$/{n;p;q};s/^($1)=//p" | head -n 1
}

# processes prints the ids of all processes whose program has this name.
processes() {
	local stat
	for stat in /proc/[0-9]*/stat; do
		if [[ $(basename "$(readlink "${stat%/stat}/exe" 2>/dev/null)") == "$1" ]]; then
			basename "${stat%/stat}"
		fi
	done
}

# is_ours reports whether a containerd's configuration file is one of ours. Of a
# test that was killed the file may be gone, and the process still be there.
is_ours() {
	[[ $1 == */containerd/config.toml ]] || return 1
	if [[ -e $1 ]]; then
		grep -qi periplus "$1"
	else
		[[ $1 == */node/containerd/* || $1 == /tmp/* ]]
	fi
}

# end stops processes for good, and waits until they are gone.
end() { # what, ids...
	local what=$1 pid
	shift
	for pid in "$@"; do
		removing "$what, process $pid"
		kill -KILL "$pid" 2>/dev/null || true
	done
	for pid in "$@"; do
		timeout 10 tail --pid="$pid" -f /dev/null || note "process $pid does not end"
	done
}

# cgroups prints our cgroups, in every hierarchy.
cgroups() {
	find /sys/fs/cgroup -mindepth 1 -maxdepth 2 -type d -name 'periplus*' -prune -print 2>/dev/null
}

refuse_running() {
	local pid running=()
	for pid in $(processes periplus); do
		if arguments "$pid" | grep -qx up; then
			running+=("$pid")
		fi
	done
	[[ ${#running[@]} -gt 0 ]] || return 0
	if [[ -z ${FORCE:-} ]]; then
		for pid in "${running[@]}"; do
			note "process $pid: $(arguments "$pid" | tr '\n' ' ')"
		done
		die "Periplus is still running. Stop it with make down, or end it with FORCE=1 make clean-host."
	fi
	end "periplus" "${running[@]}"
}

# The directories of nodes that were met: what is mounted below is ours.
declare -A nodes=([/var/lib/periplus/node]=1 ["${PERIPLUS_DIR:-$root/.periplus}/node"]=1)

end_containerds() {
	local pid config daemons=() shims=() command
	for pid in $(processes containerd); do
		config=$(arguments "$pid" | option '-c|--config')
		if is_ours "$config"; then
			nodes["${config%/containerd/config.toml}"]=1
			daemons+=("$pid")
		fi
	done
	for pid in $(processes containerd-shim-runc-v2); do
		command=$(arguments "$pid")
		if [[ $(option '-{1,2}namespace' <<<"$command") == periplus* || $(option '-{1,2}address' <<<"$command") == */node/containerd/* ]]; then
			shims+=("$pid")
		fi
	done
	end "containerd" "${daemons[@]}"
	end "container shim" "${shims[@]}"
}

end_containers() {
	local pids
	pids=$(cgroups | while read -r group; do find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done |
		sort -nu | sed '/^0$/d') # 0 is a process of another PID namespace, and to kill it means oneself
	# shellcheck disable=SC2086 # a list of numbers
	end "container" $pids
}

# is_our_mount reports whether a mount belongs to a node, by its place and file system.
is_our_mount() {
	local node
	case "$2 $1" in
	nsfs\ */sandboxes/*/net | nsfs\ */sandboxes/*/ipc | nsfs\ */sandboxes/*/uts) return 0 ;;
	*\ *periplus*/node/*) return 0 ;;
	esac
	for node in "${!nodes[@]}"; do
		[[ $1 != "$node"/* ]] || return 0
	done
	return 1
}

remove_mounts() {
	local place kind
	# The last mounted first: a mount may lie in another.
	while read -r place kind; do
		place=$(printf '%b' "$place")
		if is_our_mount "$place" "$kind"; then
			removing "mount $place"
			umount -l "$place" || true
		fi
	done < <(awk '{ for (i = 7; $i != "-"; i++); print $5, $(i + 1) }' /proc/self/mountinfo | tac)
}

remove_networks() {
	local name family table
	for name in $(ip netns list | sed -n 's/^\(pp-[^ ]*\).*/\1/p'); do
		removing "network namespace $name"
		ip netns del "$name" || true
	done
	for name in $(ip -o link show type veth 2>/dev/null | sed -nE 's/^[0-9]+: (pp[^@:]*)[@:].*/\1/p'); do
		removing "interface $name"
		ip link del "$name" 2>/dev/null || true # gone with its other end
	done
	have nft || return 0
	while read -r _ family table; do
		if [[ $table == periplus* ]]; then
			removing "nftables table $family $table"
			nft delete table "$family" "$table" || true
		fi
	done < <(nft list tables)
}

remove_cgroups() {
	local group
	for group in $(cgroups); do
		removing "cgroup $group"
		find "$group" -depth -type d -exec rmdir {} \; || true
	done
}

[[ $(id -u) -eq 0 ]] || die "this needs root: sudo make clean-host"
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
say "remove what Periplus left on this host"
refuse_running
end_containerds
end_containers
remove_mounts
remove_networks
remove_cgroups
if [[ $removed -eq 0 ]]; then
	note "nothing was left"
fi
