package kubeapi

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kubectl runs commands of the real kubectl, an unmodified client.
type kubectl struct {
	t    *testing.T
	path string
	c    *cluster
}

func withKubectl(t *testing.T) *kubectl {
	t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl on PATH: the tests with an unmodified client are left out")
	}
	return &kubectl{t: t, path: path, c: start(t, nil)}
}

// run returns what a command printed and whether it succeeded.
func (k *kubectl) run(input string, args ...string) (string, bool) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, k.path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.c.kubeconfig, "HOME="+k.c.dir)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// want runs a command that succeeds and prints each of the parts.
func (k *kubectl) want(input string, args []string, parts ...string) {
	k.t.Helper()
	out, ok := k.run(input, args...)
	if !ok {
		k.t.Errorf("kubectl %v failed:\n%s", args, out)
	}
	for _, p := range parts {
		if !strings.Contains(out, p) {
			k.t.Errorf("kubectl %v does not print %q:\n%s", args, p, out)
		}
	}
}

// fail runs a command that fails and says why.
func (k *kubectl) fail(input string, args []string, part string) {
	k.t.Helper()
	out, ok := k.run(input, args...)
	if ok || !strings.Contains(out, part) {
		k.t.Errorf("kubectl %v: succeeded %v, want an error with %q:\n%s", args, ok, part, out)
	}
}

func words(s string) []string { return strings.Fields(s) }

const webManifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'nginx:1', ports: [{containerPort: 80}]}]}
`

func TestKubectlAppliesAndChanges(t *testing.T) {
	t.Parallel()
	k := withKubectl(t)
	apply := words("apply -f -")
	k.want(webManifest, apply, "deployment.apps/web created")
	k.want(webManifest, apply, "deployment.apps/web unchanged")
	more := strings.Replace(webManifest, "replicas: 2", "replicas: 3", 1)
	k.want(more, words("apply --dry-run=server -f -"), "configured (server dry run)")
	k.want(more, apply, "deployment.apps/web configured")
	k.want("", words("get deployment web -o wide"), "CONTAINERS", "0/3", "nginx:1", "app=web")
	k.want("", words("scale deployment/web --replicas=4"), "scaled")
	k.want("", words("set image deployment/web c=nginx:2"), "image updated")
	k.want("", words("rollout restart deployment/web"), "restarted")
	k.want("", words("rollout pause deployment/web"), "paused")
	k.want("", words("rollout resume deployment/web"), "resumed")
	k.want("", words("label deployment web tier=front"), "labeled")
	k.want("", append(words("patch deployment web -p"), `{"spec":{"minReadySeconds":1}}`), "patched")
	k.want("", append(words("patch deployment web --type=json -p"), `[{"op":"replace","path":"/spec/minReadySeconds","value":2}]`), "patched")
	k.want("", append(words("patch deployment web --type=merge -p"), `{"spec":{"minReadySeconds":3}}`), "patched")
	k.want("", words("get deployment web -o jsonpath={.spec.minReadySeconds}-{.metadata.generation}"), "3-")
	k.fail(webManifest, words("apply --server-side --field-manager=other -f -"), `conflict`)
	k.want(webManifest, words("apply --server-side --field-manager=other --force-conflicts -f -"), "serverside-applied")
	k.want("", words("describe deployment web"), "RollingUpdate", "25% max unavailable")
	k.want("", words("get all"), "deployment.apps/web")
	k.want("", words("delete deployment web --timeout=30s"), "deleted")
	k.fail("", words("get deployment web"), `deployments.apps "web" not found`)
}

func TestKubectlFindsItsWay(t *testing.T) {
	t.Parallel()
	k := withKubectl(t)
	k.want("", words("version"), "Server Version: v1.37.2+periplus.test")
	k.want("", words("api-resources"), "deploy", "SelfSubjectAccessReview", "coordination.k8s.io/v1")
	k.want("", words("explain deployment.spec.strategy.rollingUpdate"), "maxSurge", "maxUnavailable")
	k.want("", words("explain pod.spec.containers.image"), "Container image name")
	k.want("", words("auth whoami"), "admin", "system:masters")
	k.want("", words("auth can-i create pods"), "yes")
	k.want("", words("get nodes"), "No resources found")
	k.want("", words("create secret generic db --from-literal=password=x"), "created")
	k.want("", words("get secrets"), "TYPE", "DATA", "Opaque")
	k.want("", words("create serviceaccount builder"), "created")
	k.want("", words("create namespace shop"), "created")
	k.want("", words("get ns shop --show-labels"), "Active", "kubernetes.io/metadata.name=shop")
	k.fail("", words("get foos"), `the server doesn't have a resource type "foos"`)
	bad := strings.Replace(webManifest, "replicas: 2", "replicaz: 2", 1)
	k.fail(bad, words("apply -f -"), `unknown field "spec.replicaz"`)
	k.fail("apiVersion: v1\nkind: Foo\nmetadata: {name: x}\n", words("apply -f -"), `no matches for kind "Foo" in version "v1"`)
}

func TestKubectlWithPods(t *testing.T) {
	t.Parallel()
	k := withKubectl(t)
	k.want("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {nodeName: n1, containers: [{name: c, image: nginx}, {name: d, image: nginx}]}\n", words("create -f -"), "pod/web created")
	k.want("", words("get pod web -o wide"), "READINESS GATES", "0/2", "n1")
	k.want("", words("logs web -c d"), "default/web/d on n1")
	k.want("", words("exec web -c d -- ls -l"), "d [ls -l]")
	k.want("typed", words("exec -i web -c d -- cat"), "typed")
	if out, ok := k.run("", words("exec web -c d -- fail")...); ok || !strings.Contains(out, "exit code 7") {
		t.Errorf("exec of a command that fails: %v %s", ok, out)
	}
	k.want("", words("delete pod web --wait=false"), "deleted")
	k.want("", words("get pod web"), "Terminating")
	k.want("", words("delete pod web --grace-period=0 --force"), "force deleted")
	k.fail("", words("get pod web"), "not found")
	config, err := os.ReadFile(filepath.Clean(k.c.kubeconfig))
	if err != nil || strings.Contains(string(config), "client-key:") {
		t.Errorf("the kubeconfig refers to other files, or cannot be read: %v", err)
	}
}
