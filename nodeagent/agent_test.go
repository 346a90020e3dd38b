package nodeagent_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	stdruntime "runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/events/memlog"
	"periplus.dev/nodeagent"
	"periplus.dev/nodeagent/fakeruntime"
	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/volume"
	"periplus.dev/projections"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	created = "pod.sandbox-created"
	pulling = "image.pull-started"
	pulled  = "image.pulled"
	started = "container.started"
	exited  = "container.exited"
)

var running = []string{created, pulling, pulled, started}

func TestNodeIsRegisteredOnce(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		key := events.Key{Resource: "nodes", Name: nodeName}
		for range 2 {
			b.start()
			if got := short(b.history(key)); !slices.Equal(got, []string{"node.registered", "node.ready"}) {
				t.Fatalf("recorded %v", got)
			}
			b.stop()
		}
		if o := b.object(key); !projections.NodeIsReady(o) || projections.As[*corev1.Node](o).Labels[corev1.LabelHostname] != nodeName {
			t.Errorf("node %s", mustJSON(t, o.Value()))
		}
		b.rt.Reboot() // the registration says which boot it is about
		b.start()
		if got := short(b.history(key)); len(got) != 4 {
			t.Errorf("recorded %v after a reboot", got)
		}
	})
}

func TestPodRuns(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.wantObserved("web", running...)
		st := b.status("web")
		if st.Phase != corev1.PodRunning || st.PodIP == "" || !st.ContainerStatuses[0].Ready {
			t.Errorf("status %s", mustJSON(t, st))
		}
		facts := b.observed("web")
		if facts[0].CauseAt != b.object(podKey("web")).Desired.Seq {
			t.Errorf("the sandbox follows from %d, not from the pod", facts[0].CauseAt)
		}
		for i := 1; i < len(facts); i++ {
			if facts[i].CauseAt != facts[i-1].Seq || facts[i].Change != facts[0].Change {
				t.Errorf("%s follows from %d in change %s", facts[i].Type.Short(), facts[i].CauseAt, facts[i].Change)
			}
		}
	})
}

func TestPodThatWasThereBeforeTheAgent(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.create(pod("web", "serve"))
		b.start()
		b.wantObserved("web", running...)
	})
}

func TestCrashLoop(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "sleep 1; exit 3"))
		b.pass(15 * time.Second)
		b.wantObserved("web", append(running, exited, started, exited, "container.backing-off", started, exited, "container.backing-off")...)
		st := b.status("web").ContainerStatuses[0]
		if st.State.Waiting == nil || st.State.Waiting.Reason != "CrashLoopBackOff" || st.RestartCount != 2 || st.LastTerminationState.Terminated.ExitCode != 3 {
			t.Errorf("status %s", mustJSON(t, st))
		}
		b.pass(time.Hour)
		starts := 0
		for _, r := range b.observed("web") {
			if r.Type == events.ContainerStarted {
				starts++
			}
		}
		if starts < 15 || starts > 18 { // 5 minutes apart in the end
			t.Errorf("%d starts in an hour", starts)
		}
		pods, err := b.rt.List(context.Background())
		if err != nil || len(pods[0].Containers) > 2 {
			t.Errorf("%d attempts are left, %v", len(pods[0].Containers), err)
		}
	})
}

func TestDeleteWithGrace(t *testing.T) {
	for _, tc := range []struct {
		name, command string
		grace         int64
		took          time.Duration
		code          int
	}{
		{"obedient", "serve", 30, 0, 143},
		{"stubborn", "stubborn", 7, 7 * time.Second, 137},
		{"now", "stubborn", 0, 0, 137},
	} {
		t.Run(tc.name, func(t *testing.T) {
			scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
				b.start()
				b.create(pod("web", tc.command))
				asked := time.Now()
				b.delete("web", tc.grace)
				b.pass(time.Minute)
				b.wantObserved("web", append(running, "pod.stopping", exited, "pod.stopped")...)
				facts := b.observed("web")
				stop, exit := facts[4], facts[5]
				if d := decode[events.Exited](b, exit); d.ExitCode != tc.code || exit.Time.Sub(asked) != tc.took {
					t.Errorf("exit %+v after %v", d, exit.Time.Sub(asked))
				}
				if stop.CauseAt != b.object(podKey("web")).Desired.Seq || exit.CauseAt != stop.Seq || facts[6].CauseAt != stop.Seq {
					t.Errorf("causes: %d, %d, %d", stop.CauseAt, exit.CauseAt, facts[6].CauseAt)
				}
				if !projections.PodStopped(b.object(podKey("web"))) {
					t.Error("the fold does not know that it was stopped")
				}
				b.remove("web")
				if pods, err := b.rt.List(context.Background()); err != nil || len(pods) > 0 {
					t.Errorf("left behind: %v, %v", pods, err)
				}
			})
		})
	}
}

func TestGraceIsCutShort(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "stubborn"))
		b.delete("web", 300)
		b.pass(5 * time.Second)
		b.wantObserved("web", append(running, "pod.stopping")...)
		b.delete("web", 0)
		b.pass(0)
		b.wantObserved("web", append(running, "pod.stopping", exited, "pod.stopped")...)
	})
}

func TestForcedDeletion(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "stubborn"))
		b.remove("web")
		b.pass(2 * time.Second)
		if pods, err := b.rt.List(context.Background()); err != nil || len(pods) > 0 {
			t.Errorf("left behind: %v, %v", pods, err)
		}
		b.wantObserved("web", append(running, "pod.stopping", exited, "pod.stopped")...)
		// Another pod may have the name at once.
		again := pod("web", "serve")
		again.UID = "uid-2"
		b.create(again)
		if st := b.status("web"); st.Phase != corev1.PodRunning {
			t.Errorf("status %s", mustJSON(t, st))
		}
	})
}

func TestNameIsUsedAgainBeforeTheOldPodHasStopped(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{Latency: func(c fakeruntime.Call) time.Duration {
		if c.Verb == "RemoveSandbox" {
			return time.Minute
		}
		return 0
	}}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.remove("web")
		again := pod("web", "serve")
		again.UID = "uid-2"
		b.create(again)
		b.pass(2 * time.Minute)
		if st := b.status("web"); st.Phase != corev1.PodRunning {
			t.Errorf("status %s", mustJSON(t, st))
		}
	})
}

func TestMissingImageAppears(t *testing.T) {
	var there atomic.Bool
	scenario(t, memlog.Config{}, fakeruntime.Config{Missing: func(string) bool { return !there.Load() }}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		if st := b.status("web").ContainerStatuses[0].State.Waiting; st == nil || st.Reason != "ErrImagePull" {
			t.Errorf("waits for %+v", st)
		}
		b.pass(15 * time.Second)
		if st := b.status("web").ContainerStatuses[0].State.Waiting; st == nil || st.Reason != "ImagePullBackOff" {
			t.Errorf("waits for %+v", st)
		}
		there.Store(true)
		b.pass(time.Minute)
		b.wantObserved("web", created, pulling, "image.pull-failed", "image.pull-failed", pulled, started)
	})
}

func TestDeletionBreaksOffAPull(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{Latency: func(c fakeruntime.Call) time.Duration {
		if c.Verb == "Pull" {
			return time.Hour
		}
		return 0
	}}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.pass(time.Second)
		b.delete("web", 30)
		b.wantObserved("web", created, pulling, "pod.stopped")
	})
}

func TestAgentIsStartedAgain(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.create(pod("job", "sleep 20; exit 5"))
		before := b.status("web").ContainerStatuses[0].ContainerID
		b.stop()
		b.pass(time.Minute) // the job exits while nobody looks
		b.start()
		b.pass(time.Minute)
		b.wantObserved("web", running...)
		if id := b.status("web").ContainerStatuses[0].ContainerID; id != before {
			t.Errorf("container %s became %s", before, id)
		}
		facts := b.observed("job")
		if len(facts) < 5 {
			t.Fatalf("recorded %v", short(facts))
		}
		exit := decode[events.Exited](b, facts[3]) // the image had been pulled for the other pod
		if facts[3].Type != events.ContainerExited || exit.ExitCode != 5 || exit.FinishedAt.Sub(exit.StartedAt) != 20*time.Second {
			t.Errorf("recorded %v, exit %+v", short(facts), exit)
		}
	})
}

func TestPodIsDeletedWhileTheAgentIsAway(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("asked", "serve"))
		b.create(pod("gone", "serve"))
		b.stop()
		b.delete("asked", 30)
		b.remove("gone")
		b.feed = &memlog.Feed{} // that it is gone was forgotten meanwhile
		b.config.Feed = b.feed
		b.feedAnew()
		b.start()
		b.wantObserved("asked", append(running, "pod.stopping", exited, "pod.stopped")...)
		if pods, err := b.rt.List(context.Background()); err != nil || len(pods) != 1 {
			t.Errorf("a pod that was not mentioned yet is in haste to end: %v, %v", pods, err)
		}
		b.pass(time.Minute)
		if pods, err := b.rt.List(context.Background()); err != nil || len(pods) > 0 {
			t.Errorf("left behind: %v, %v", pods, err)
		}
	})
}

func TestConflictAndLostAnswers(t *testing.T) {
	var mu sync.Mutex
	lost := map[string]bool{}
	var appends atomic.Int64
	cfg := memlog.Config{
		Lose: func(ps []events.Proposal) error { // every answer of the node is lost once
			mu.Lock()
			defer mu.Unlock()
			if ps[0].Source.Node() == "" || lost[ps[0].ID] {
				return nil
			}
			lost[ps[0].ID] = true
			return context.DeadlineExceeded
		},
		Fail: func(ps []events.Proposal) error { // and every third append is refused
			if ps[0].Source.Node() != "" && appends.Add(1)%3 == 0 {
				return events.ErrTemporary
			}
			return nil
		},
	}
	scenario(t, cfg, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.pass(time.Minute)
		b.wantObserved("web", running...)
		// Somebody else records on the agent's subject.
		o := b.object(podKey("web"))
		p := events.New(podKey("web").Observed(nodeName), o.Observed.Seq, events.ContainerReadyChanged, o.Observed,
			events.ReadyChanged{UID: "uid-web", Container: "main", Ready: true})
		p.ID, p.Time, p.Source, p.Actor = b.newID(), time.Now(), events.NodeSource(nodeName), "node:n1"
		for {
			if _, err := b.log.Append(context.Background(), p); err == nil {
				break
			}
		}
		b.delete("web", 30)
		b.pass(time.Minute)
		b.wantObserved("web", append(running, "container.readiness-changed", "pod.stopping", exited, "pod.stopped")...)
	})
}

func TestPodsRunOnWithoutTheLog(t *testing.T) {
	var away atomic.Bool
	scenario(t, memlog.Config{Fail: func(ps []events.Proposal) error {
		if away.Load() && ps[0].Source.Node() != "" {
			return events.ErrTemporary
		}
		return nil
	}}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "sleep 30; exit 1"))
		away.Store(true)
		b.pass(45 * time.Second)
		b.wantObserved("web", running...)
		pods, err := b.rt.List(context.Background())
		if err != nil || pods[0].Containers[len(pods[0].Containers)-1].Attempt != 1 {
			t.Errorf("was not started again: %+v, %v", pods, err)
		}
		back := time.Now()
		away.Store(false)
		b.pass(time.Minute)
		facts := b.observed("web")
		if len(facts) < 6 || facts[4].Type != events.ContainerExited || !facts[4].Time.Before(back) {
			t.Errorf("recorded %v", short(facts))
		}
	})
}

func TestMachineIsStartedAgain(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.stop()
		b.rt.Reboot()
		b.start()
		b.wantObserved("web", append(running, exited, created, started)...)
		st := b.status("web")
		if st.Phase != corev1.PodRunning || st.ContainerStatuses[0].RestartCount != 1 || st.ContainerStatuses[0].LastTerminationState.Terminated.Reason != "ContainerStatusUnknown" {
			t.Errorf("status %s", mustJSON(t, st))
		}
	})
}

func TestConfigurationComesLater(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		p := pod("web", "env; sleep infinity")
		p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "WHO", ValueFrom: &corev1.EnvVarSource{
			ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}, Key: "who"},
		}}, {Name: "ME", Value: "$(WHO)-$(NOBODY)"}}
		b.create(p)
		st := b.status("web").ContainerStatuses[0].State.Waiting
		if st == nil || st.Reason != "CreateContainerConfigError" || st.Message != `configmap "cfg" not found` {
			t.Errorf("waits for %+v", st)
		}
		b.pass(time.Second)
		b.createObject("configmaps", "configmap", "cfg", &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cfg", UID: "uid-cfg"}, Data: map[string]string{"who": "me"},
		})
		b.wantObserved("web", created, pulling, pulled, "container.start-failed", started)
		if text := b.logs("web", &corev1.PodLogOptions{}); !strings.Contains(text, "ME=me-$(NOBODY)\n") {
			t.Errorf("environment %q", text)
		}
	})
}

func (b *bench) logs(name string, o *corev1.PodLogOptions) string {
	b.t.Helper()
	r, err := b.agent.Logs(context.Background(), nodeagent.PodRef{Namespace: "shop", Name: name}, o)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestUnsupportedVolumeIsRejected(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		p := pod("web", "serve")
		p.Spec.Volumes = []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}}}
		b.create(p)
		b.wantObserved("web", "pod.rejected")
		if st := b.status("web"); st.Phase != corev1.PodFailed || st.Reason != "UnsupportedVolume" || !strings.Contains(st.Message, `"disk"`) {
			t.Errorf("status %s", mustJSON(t, st))
		}
		b.delete("web", 30)
		b.wantObserved("web", "pod.rejected", "pod.stopped")
	})
}

func TestLogsAndExec(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		b.create(pod("web", "echo one; echo two; sleep infinity"))
		ctx, ref := context.Background(), nodeagent.PodRef{Namespace: "shop", Name: "web"}
		if text := b.logs("web", &corev1.PodLogOptions{}); text != "one\ntwo\n" {
			t.Errorf("log %q", text)
		}
		last := int64(1)
		if text := b.logs("web", &corev1.PodLogOptions{Container: "main", TailLines: &last}); text != "two\n" {
			t.Errorf("last line %q", text)
		}
		var out strings.Builder
		if code, err := b.agent.Exec(ctx, ref, "main", []string{"echo", "hi"}, nil, &out, io.Discard, false, nil); err != nil || code != 0 || out.String() != "hi\n" {
			t.Errorf("exec: %d, %v, %q", code, err, out.String())
		}
		if code, err := b.agent.Exec(ctx, ref, "", []string{"exit", "7"}, nil, nil, nil, false, nil); err != nil || code != 7 {
			t.Errorf("exec: %d, %v", code, err)
		}
		waiting := pod("wait", "serve")
		waiting.Spec.Containers[0].Image = "no-such"
		b.create(waiting)
		for _, tc := range []struct {
			name, pod, container string
			previous             bool
			want                 string
		}{
			{"no such pod", "other", "main", false, `pods "other" not found`},
			{"no such container", "web", "x", false, "container x is not valid for pod web"},
			{"no previous", "web", "main", true, `previous terminated container "main" in pod "web" not found`},
			{"waits", "wait", "main", false, `container "main" in pod "wait" is waiting to start: trying and failing to pull image`},
		} {
			_, err := b.agent.Logs(ctx, nodeagent.PodRef{Namespace: "shop", Name: tc.pod}, &corev1.PodLogOptions{Container: tc.container, Previous: tc.previous})
			if err == nil || err.Error() != tc.want {
				t.Errorf("logs, %s: %v", tc.name, err)
			}
		}
		if _, err := b.agent.Exec(ctx, nodeagent.PodRef{Namespace: "shop", Name: "wait"}, "main", []string{"true"}, nil, nil, nil, false, nil); err == nil ||
			err.Error() != `container "main" in pod "wait" is waiting to start: trying and failing to pull image` {
			t.Errorf("exec: %v", err)
		}
	})
}

func TestManyPodsWithSlowRuntime(t *testing.T) {
	var now, most atomic.Int64
	busy := fakeruntime.Config{
		Latency: func(c fakeruntime.Call) time.Duration {
			if c.Verb == "StartContainer" {
				most.Store(max(most.Load(), now.Add(1)))
			}
			return 80 * time.Millisecond
		},
		Fail: func(c fakeruntime.Call) error {
			if c.Verb == "StartContainer" {
				now.Add(-1)
			}
			return nil
		},
	}
	scenario(t, memlog.Config{}, busy, func(b *bench) {
		b.config.StartParallel = 4
		for i := range 100 {
			b.create(pod("web-"+string(rune('a'+i/26))+string(rune('a'+i%26)), "serve"))
		}
		began := time.Now()
		b.start()
		b.pass(20 * time.Second)
		for o := range b.world.Current().List("pods", "") {
			if projections.PodPhase(o) != corev1.PodRunning {
				t.Fatalf("%s is %s after %v", o.Key, projections.PodPhase(o), time.Since(began))
			}
		}
		if n := most.Load(); n < 2 || n > 4 {
			t.Errorf("%d starts at once, want up to 4", n)
		}
	})
}

func TestRuntimeThatFailsNowAndThen(t *testing.T) {
	var calls atomic.Uint64
	scenario(t, memlog.Config{}, fakeruntime.Config{Fail: func(fakeruntime.Call) error {
		if n := calls.Add(1) * 0x9E3779B97F4A7C15; n>>63 == 0 { // every second call or so
			return runtime.ErrTemporary
		}
		return nil
	}}, func(b *bench) {
		b.start()
		b.create(pod("web", "serve"))
		b.pass(5 * time.Minute)
		if st := b.status("web"); st.Phase != corev1.PodRunning {
			t.Fatalf("status %s", mustJSON(t, st))
		}
		b.delete("web", 30)
		b.pass(5 * time.Minute)
		if pods, err := b.rt.List(context.Background()); err == nil && len(pods) > 0 {
			t.Errorf("left behind: %v", pods)
		}
	})
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for _, c := range []nodeagent.Config{{}, {Node: "n"}} {
		if _, err := nodeagent.New(c); err == nil {
			t.Errorf("an agent of %+v", c)
		}
	}
}

func TestFilesOfARunningPodFollowTheirConfigMap(t *testing.T) {
	root := t.TempDir()
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.config.Volumes = volume.Dir{Root: root}
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cfg", UID: "uid-cfg"}, Data: map[string]string{"who": "me"}}
		key := events.Key{Resource: "configmaps", Namespace: "shop", Name: "cfg"}
		b.createObject("configmaps", "configmap", "cfg", config)
		b.start()
		p := pod("web", "serve")
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}},
		}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
		b.create(p)
		b.wantObserved("web", running...)
		file := filepath.Join(root, "uid-web", "v", "who")
		want := func(content string) {
			t.Helper()
			if got, err := os.ReadFile(file); err != nil || string(got) != content {
				t.Errorf("file holds %q, %v; want %q", got, err, content)
			}
		}
		want("me")
		config.Data["who"] = "you"
		b.append(projections.Changed(b.object(key), events.TypeOf("configmap", events.FactDataChanged), b.object(key).Desired, config))
		want("you")
		b.wantObserved("web", running...)
		b.delete("web", 0)
		if _, err := os.Stat(filepath.Join(root, "uid-web")); !os.IsNotExist(err) {
			t.Errorf("volumes are left: %v", err)
		}
	})
}

// A hollow node costs a few goroutines, and a pod that just runs costs none.
func TestIdlePodsCostNoGoroutine(t *testing.T) {
	scenario(t, memlog.Config{}, fakeruntime.Config{}, func(b *bench) {
		b.start()
		before := stdruntime.NumGoroutine()
		for i := range 50 {
			b.create(pod(fmt.Sprint("web-", i), "serve"))
		}
		b.pass(time.Minute)
		if after := stdruntime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines with 50 pods, %d without", after, before)
		}
		b.wantObserved("web-49", created, pulled, started)
	})
}
