package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	writers      = 16
	podsEach     = 2   // pods that each writer makes, among its config maps
	enough       = 600 // creations that are acknowledged before the process is killed
	writeTimeout = 2 * time.Minute
)

// TestSurvivesKill kills the process with KILL while 16 clients create, and starts
// it again; then stops and starts it in order. What was acknowledged is there, byte
// for byte and with its version; containers go on as if nothing had been.
func TestSurvivesKill(t *testing.T) {
	needRealNode(t)
	c, err := realNode(200, startRegistry(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.end(context.WithoutCancel(t.Context())); err != nil {
			t.Error("end of the cluster:", err)
		}
	})
	if err := c.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Some containers run before it begins.
	before := connect(t, c)
	for i := range 3 {
		if _, err := before.CoreV1().Pods("default").Create(t.Context(), sleeper(fmt.Sprintf("early-%d", i)), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	awaitRunning(t, before, 3)

	told, ran := writeUntilKilled(t, c)
	t.Logf("%d config maps and %d pods were acknowledged, %d containers ran", len(told.maps), len(told.pods), len(ran))
	if err := c.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := connect(t, c)
	told.check(t, after)
	ran = awaitSame(t, after, ran, len(told.pods)+3)

	if err := c.down(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := c.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	again := connect(t, c)
	told.check(t, again)
	awaitSame(t, again, ran, len(told.pods)+3)
}

// acknowledged is what the server has said it has made, by name.
type acknowledged struct {
	mu   sync.Mutex
	maps map[string]*corev1.ConfigMap
	pods map[string]*corev1.Pod
}

func (a *acknowledged) addMap(m *corev1.ConfigMap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.maps[m.Name] = m
}

func (a *acknowledged) addPod(p *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pods[p.Name] = p
}

// writeUntilKilled lets clients create until enough is acknowledged, and then kills
// the process in the midst of it. It returns what was acknowledged, and the ids of
// the containers that ran by pod.
func writeUntilKilled(t *testing.T, c *binary) (*acknowledged, map[string]string) {
	t.Helper()
	told := &acknowledged{maps: map[string]*corev1.ConfigMap{}, pods: map[string]*corev1.Pod{}}
	var count atomic.Int32
	full, killed := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	for w := range writers {
		client := connect(t, c)
		group.Go(func() {
			for n := 0; write(t.Context(), client, told, w, n); n++ {
				if count.Add(1) == enough {
					close(full)
				}
			}
			select {
			case <-killed:
			default:
				t.Errorf("writer %d was refused before the process was killed", w)
			}
		})
	}
	select {
	case <-full:
	case <-time.After(writeTimeout):
		t.Errorf("%d of %d creations in time", count.Load(), enough)
	}
	ran := running(t, connect(t, c))
	close(killed)
	if err := c.kill(t.Context()); err != nil {
		t.Error(err)
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return told, ran
}

// write creates the next thing of a writer; it reports false if that was not
// acknowledged.
func write(ctx context.Context, client kubernetes.Interface, told *acknowledged, writer, n int) bool {
	if n%8 == 0 && n/8 < podsEach {
		pod, err := client.CoreV1().Pods("default").Create(ctx, sleeper(fmt.Sprintf("p-%d-%d", writer, n)), metav1.CreateOptions{})
		if err != nil {
			return false
		}
		told.addPod(pod)
		return true
	}
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m-%d-%d", writer, n)}, Data: map[string]string{"writer": fmt.Sprint(writer), "n": fmt.Sprint(n)}}
	m, err := client.CoreV1().ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{})
	if err != nil {
		return false
	}
	told.addMap(m)
	return true
}

// check holds what is there to what was acknowledged.
func (a *acknowledged) check(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	there, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]corev1.ConfigMap{}
	for _, m := range there.Items {
		found[m.Name] = m
	}
	for _, name := range slices.Sorted(maps.Keys(a.maps)) {
		want, got := a.maps[name], found[name]
		if got.UID != want.UID || got.ResourceVersion != want.ResourceVersion || !maps.Equal(got.Data, want.Data) {
			t.Errorf("config map %s: uid %q, version %q, data %v; acknowledged were %q, %q, %v", name, got.UID, got.ResourceVersion, got.Data, want.UID, want.ResourceVersion, want.Data)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.pods)) {
		pod, err := client.CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Errorf("pod %s was acknowledged: %v", name, err)
		} else if pod.UID != a.pods[name].UID {
			t.Errorf("pod %s: uid %s, acknowledged was %s", name, pod.UID, a.pods[name].UID)
		}
	}
}

// running are the ids of the containers that run, by pod.
func running(t *testing.T, client kubernetes.Interface) map[string]string {
	t.Helper()
	pods, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range pods.Items {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil {
				continue
			}
			out[p.Name] = s.ContainerID
			if s.RestartCount != 0 {
				t.Errorf("pod %s was restarted %d times", p.Name, s.RestartCount)
			}
		}
	}
	return out
}

// awaitRunning waits until so many containers run.
func awaitRunning(t *testing.T, client kubernetes.Interface, n int) map[string]string {
	t.Helper()
	var ran map[string]string
	err := until(t.Context(), eventuallyTimeout, func() (bool, error) {
		ran = running(t, client)
		return len(ran) >= n, nil
	})
	if err != nil {
		t.Fatalf("%d of %d containers run: %v", len(ran), n, err)
	}
	return ran
}

// awaitSame waits until so many containers run, and holds those that ran before to
// the ids they had.
func awaitSame(t *testing.T, client kubernetes.Interface, before map[string]string, n int) map[string]string {
	t.Helper()
	now := awaitRunning(t, client, n)
	for _, pod := range slices.Sorted(maps.Keys(before)) {
		if now[pod] != before[pod] {
			t.Errorf("pod %s ran in container %q before, now in %q", pod, before[pod], now[pod])
		}
	}
	return now
}

func connect(t *testing.T, c *binary) kubernetes.Interface {
	t.Helper()
	conf, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	conf.QPS = -1 // as fast as the server answers
	client, err := kubernetes.NewForConfig(conf)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// sleeper is a pod that does nothing until it is told to stop.
func sleeper(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(2)), Containers: []corev1.Container{{
			Name: "c", Image: "periplus.example/toolbox:v1",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("4Mi")}},
		}}},
	}
}
