#!/usr/bin/env bash
# The main job: from a fresh checkout to a cluster that runs something, and a look
# at its history. It may be run again at any time.
#
#   PERIPLUS_DIR   where the cluster lives (.periplus in the checkout)
#   UP_FLAGS       further flags for `periplus up`
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

dir=${PERIPLUS_DIR:-$root/.periplus}
image=periplus.example/web:v1
app=deployment/web

# running reports whether the process that owns the folder is alive: its id may have
# gone to another program since.
running() {
	[[ -s $dir/periplus.pid && $(readlink "/proc/$(cat "$dir/periplus.pid")/exe") == */periplus* ]]
}

# kube is the kubectl of this cluster.
kube() {
	"$kubectl" --kubeconfig "$dir/kubeconfig" "$@"
}

# load_image packs the example and hands it to the node.
load_image() {
	local tar
	tar=$(mktemp)
	# shellcheck disable=SC2064 # the file of now is meant
	trap "rm -f '$tar'" EXIT
	go run ./internal/testimage/cmd/mkimage -program ./examples/web -ref "$image" -o "$tar"
	bin/periplus image load "$tar" --data-dir "$dir"
}

# explain shows what there is to see when the demo does not come up.
explain() {
	kube get pods -l app=web -o wide || true
	kube describe pods -l app=web | tail -n 40 || true
	note "the last lines of $dir/periplus.log:"
	tail -n 20 "$dir/periplus.log" || true
	die "the demo did not come up"
}

cd "$root"
[[ $(id -u) -eq 0 ]] || die "real containers need root: sudo make up (without root: make build, then bin/periplus up --hollow-nodes 3 --data-dir $dir)"

say "setup"
make --no-print-directory setup
kubectl=$(find_kubectl) || die "there is no kubectl, even after setup"

say "build"
make --no-print-directory build

say "start a cluster of one node in $dir"
if running; then
	note "it is already running, process $(cat "$dir/periplus.pid")"
else
	# shellcheck disable=SC2086 # a list of flags
	bin/periplus up --detach --data-dir "$dir" ${UP_FLAGS:-}
fi

say "load the demo image $image"
load_image

say "kubectl apply -f examples/web/web.yaml"
kube apply -f examples/web/web.yaml

say "wait until both pods run"
kube rollout status "$app" --timeout=180s || explain

say "kubectl get pods -o wide"
kube get pods -l app=web -o wide

address=$(kube get pods -l app=web --field-selector status.phase=Running -o 'jsonpath={.items[0].status.podIP}')
say "curl http://$address:8080/"
curl -fsS --noproxy '*' --max-time 10 --retry 5 --retry-connrefused "http://$address:8080/" || explain

say "bin/periplus history $app"
bin/periplus history "$app" --data-dir "$dir"

say "it works. What to try next:"
shown=${dir#"$root"/}
k=kubectl
[[ $kubectl != "$root"/* ]] || k=bin/kubectl
cat <<EOT
    export KUBECONFIG=$dir/kubeconfig
    $k get all -A
    $k scale $app --replicas=4
    $k set env $app GREETING=Ahoy && $k rollout status $app
    bin/periplus history $app --data-dir $shown
    bin/periplus why \$($k get pods -l app=web -o name | head -n 1) --data-dir $shown
    make down              # stops it; containers go on running
    make down PURGE=1      # stops it and removes everything
EOT
