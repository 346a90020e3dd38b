package nodeagent_test

import (
	"context"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events/memlog"
	"periplus.dev/internal/testimage"
	"periplus.dev/nodeagent"
	"periplus.dev/nodeagent/containerd"
	"periplus.dev/nodeagent/volume"
	"periplus.dev/projections"
)

// TestOnContainerd takes a pod through its life on real containers: files and
// variables from configuration, logs, exec, an agent that is started again, a
// crash, and a graceful end.
func TestOnContainerd(t *testing.T) {
	b, ctx := realBench(t)
	b.createObject("configmaps", "configmap", "cfg", &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cfg", UID: "uid-cfg"}, Data: map[string]string{"lines": "2"},
	})
	b.createObject("secrets", "secret", "sec", &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "sec", UID: "uid-sec"}, Data: map[string][]byte{"pw": []byte("hush")},
	})
	b.start()
	p := pod("web", "")
	c := &p.Spec.Containers[0]
	c.Image, c.Command = "periplus.example/toolbox:v1", []string{"print-lines", "-every", "1h", "$(LINES)"}
	c.Env = []corev1.EnvVar{{Name: "LINES", ValueFrom: &corev1.EnvVarSource{
		ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}, Key: "lines"},
	}}}
	p.Spec.Volumes = []corev1.Volume{
		{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sec"}}},
		{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
	}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "s", MountPath: "/s"}, {Name: "e", MountPath: "/e"}}
	b.create(p)
	b.await(func() bool { return b.status("web").Phase == corev1.PodRunning })
	b.wantObserved("web", running...)

	ref := nodeagent.PodRef{Namespace: "shop", Name: "web"}
	limit := int64(len("line 1"))
	r, err := b.agent.Logs(ctx, ref, &corev1.PodLogOptions{Follow: true, LimitBytes: &limit})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "line 1" {
		t.Errorf("log %q, %v", text, err)
	}
	r.Close()
	var out strings.Builder
	if code, err := b.agent.Exec(ctx, ref, "main", []string{"cat", "/s/pw"}, nil, &out, io.Discard, false, nil); err != nil || code != 0 || out.String() != "hush" {
		t.Errorf("exec: %d, %v, %q", code, err, out.String())
	}

	before := b.status("web").ContainerStatuses[0].ContainerID
	b.stop()
	b.start()
	b.create(secondPod())
	b.await(func() bool {
		return len(b.status("crash").ContainerStatuses) > 0 && b.status("crash").ContainerStatuses[0].RestartCount > 0
	})
	if id := b.status("web").ContainerStatuses[0].ContainerID; id != before || len(b.observed("web")) != len(running) {
		t.Errorf("container %s became %s; recorded %v", before, id, short(b.observed("web")))
	}
	if facts := short(b.observed("crash")); !slices.Equal(facts[:5], []string{created, pulled, started, exited, started}) {
		t.Errorf("recorded of a pod that crashes: %v", facts)
	}

	b.delete("web", 2)
	b.await(func() bool { return projections.PodStopped(b.object(podKey("web"))) })
	b.delete("crash", 1)
	b.await(func() bool { return projections.PodStopped(b.object(podKey("crash"))) })
	b.wantObserved("web", append(running, "pod.stopping", exited, "pod.stopped")...)
	if pods, err := b.config.Runtime.List(ctx); err != nil || len(pods) > 0 {
		t.Errorf("left behind: %v, %v", pods, err)
	}
}

func secondPod() *corev1.Pod {
	p := pod("crash", "")
	p.Spec.Containers[0].Image, p.Spec.Containers[0].Command = "periplus.example/toolbox:v1", []string{"exit", "3"}
	return p
}

// realBench is a bench on containers of a containerd of the test's own.
func realBench(t *testing.T) (*bench, context.Context) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("real containers need root")
	}
	for _, program := range []string{"containerd", "runc", "containerd-shim-runc-v2"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: %v", program, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	image, err := testimage.Build(ctx, testimage.ToolboxSpec())
	if err != nil {
		t.Fatal(err)
	}
	registry, err := testimage.StartRegistry(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := registry.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := registry.Push(ctx, "periplus.example/toolbox:v1", image); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pp-agent-") //nolint:usetesting // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	rt, err := containerd.Start(ctx, containerd.Config{
		Dir: filepath.Join(dir, "node"), NodeName: "agent-test", PodCIDR: netip.MustParsePrefix("10.252.9.0/24"), Logger: zaptest.NewLogger(t),
		Mirrors: map[string][]string{"periplus.example": {registry.URL()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Shutdown(context.WithoutCancel(ctx), true); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b := newBench(t, memlog.Config{}, rt, func() {})
	b.config.Volumes = volume.Dir{Root: filepath.Join(dir, "volumes")}
	b.config.Logger = zaptest.NewLogger(t)
	t.Cleanup(b.end)
	return b, ctx
}

// await waits until something is true of the World.
func (b *bench) await(is func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		w := b.world.Current()
		if is() {
			return
		}
		if _, err := b.world.Await(ctx, w.Seq()+1); err != nil {
			b.t.Fatalf("%v; recorded %v", err, b.all())
		}
	}
}

// all is the whole log, short.
func (b *bench) all() []string {
	var out []string
	head, err := b.log.Head(context.Background())
	if err != nil {
		return nil
	}
	for seq := range head {
		if r, ok, err := b.log.At(context.Background(), seq+1); ok && err == nil {
			out = append(out, r.Type.Short()+" "+string(r.Data[:min(len(r.Data), 200)]))
		}
	}
	return out
}
