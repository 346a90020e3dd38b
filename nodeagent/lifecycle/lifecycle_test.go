package lifecycle_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/runtime"
)

func TestStart(t *testing.T) {
	h := newHost()
	h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a", "b"), h.now), h.now)
	equal(t, h.take(), "pod.sandbox-created", "image.pull-started a", "image.pulled a", "container.started a #0", "image.pulled b", "container.started b #0")
}

func TestCrashLoop(t *testing.T) {
	h := newHost()
	s := h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now)
	h.take()
	var gaps []time.Duration
	for range 8 {
		h.exitAll("a", 1)
		exited := h.now
		s = h.settle(t, h.see(t, s), h.now.Add(time.Hour))
		gaps = append(gaps, h.now.Sub(exited))
	}
	s10, s20, s40 := 10*time.Second, 20*time.Second, 40*time.Second
	want := []time.Duration{0, s10, s20, s40, 2 * s40, 4 * s40, 5 * time.Minute, 5 * time.Minute}
	if !slices.Equal(gaps, want) {
		t.Errorf("put off by %v, want %v", gaps, want)
	}
	facts := h.take()
	equal(t, facts[:5], "container.exited a #0 Error 1", "container.started a #1",
		"container.exited a #1 Error 1", "container.backing-off a #2 until 10s", "container.started a #2")

	h.now = h.now.Add(10 * time.Minute)
	h.exitAll("a", 1)
	h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "container.exited a #8 Error 1", "container.started a #9")
}

func TestRestartPolicy(t *testing.T) {
	for _, tc := range []struct {
		policy corev1.RestartPolicy
		code   int
		want   bool
	}{
		{corev1.RestartPolicyAlways, 0, true}, {corev1.RestartPolicyAlways, 1, true},
		{corev1.RestartPolicyOnFailure, 0, false}, {corev1.RestartPolicyOnFailure, 1, true},
		{corev1.RestartPolicyNever, 0, false}, {corev1.RestartPolicyNever, 1, false},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.policy, tc.code), func(t *testing.T) {
			h := newHost()
			s := h.settle(t, lifecycle.New(podOf(tc.policy, "a"), h.now), h.now)
			h.exitAll("a", tc.code)
			s = h.settle(t, h.see(t, s), h.now)
			if got := h.pod.Containers[len(h.pod.Containers)-1].Phase == runtime.Running; got != tc.want || s.Finished() == tc.want {
				t.Errorf("runs again: %v, finished: %v; want %v", got, s.Finished(), tc.want)
			}
		})
	}
}

func TestInitContainers(t *testing.T) {
	h := newHost()
	s := h.settle(t, lifecycle.New(withInit(podOf(corev1.RestartPolicyAlways, "a"), false, "i", "j"), h.now), h.now)
	equal(t, h.take()[3:], "container.started i #0")
	h.exitAll("i", 1)
	s = h.settle(t, h.see(t, s), h.now)
	h.exitAll("i", 0)
	s = h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "container.exited i #0 Error 1", "container.started i #1", "container.exited i #1 Completed 0", "image.pulled j", "container.started j #0")
	h.exitAll("j", 0)
	s = h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "container.exited j #0 Completed 0", "image.pulled a", "container.started a #0")

	h.pod.Sandbox = nil // the machine was started again
	for i := range h.pod.Containers {
		h.pod.Containers[i].Phase = runtime.Lost
	}
	s = h.settle(t, h.see(t, s), h.now)
	h.exitAll("i", 0)
	h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "container.exited a #0 ContainerStatusUnknown 137", "pod.sandbox-created", "container.started i #2", "container.exited i #2 Completed 0", "container.started j #1")
}

func TestInitFailureEndsAPodThatNeverRestarts(t *testing.T) {
	h := newHost()
	s := h.settle(t, lifecycle.New(withInit(podOf(corev1.RestartPolicyNever, "a"), false, "i"), h.now), h.now)
	h.exitAll("i", 3)
	h.take()
	s = h.settle(t, h.see(t, s), h.now.Add(time.Hour))
	equal(t, h.take(), "container.exited i #0 Error 3")
	if !s.Finished() {
		t.Error("not finished")
	}
}

func TestSidecarRunsBesideAndEndsLast(t *testing.T) {
	h := newHost()
	pod := withInit(podOf(corev1.RestartPolicyNever, "a"), true, "s")
	s := h.settle(t, lifecycle.New(pod, h.now), h.now)
	equal(t, h.take()[3:], "container.started s #0", "image.pulled a", "container.started a #0")
	h.exitAll("a", 0)
	s = h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "container.exited a #0 Completed 0", "container.exited s #0 Error 143")
	h.settle(t, lifecycle.Want(s, deleted(pod, h.now, 30), h.now), h.now)
	equal(t, h.take(), "pod.stopped")
}

func TestNothingStartsBeforeASidecar(t *testing.T) {
	h := newHost()
	pod := withInit(podOf(corev1.RestartPolicyAlways, "a"), true, "s")
	pod.Spec.InitContainers[0].Image = "none:1"
	h.fail = func(a lifecycle.Action) error {
		if a.Kind == lifecycle.Pull && a.Image == "none:1" {
			return runtime.ErrImageNotFound
		}
		return nil
	}
	h.settle(t, lifecycle.New(pod, h.now), h.now)
	equal(t, h.take(), "pod.sandbox-created", "image.pull-started s", "image.pull-failed s ErrImagePull until 10s")
}

func TestSidecarIsToldToEndAfterTheOthers(t *testing.T) {
	h := newHost()
	pod := withInit(podOf(corev1.RestartPolicyAlways, "a"), true, "s")
	s := h.settle(t, lifecycle.New(pod, h.now), h.now)
	h.take()
	h.deaf = true
	s = h.settle(t, lifecycle.Want(s, deleted(pod, h.now, 30), h.now), h.now)
	for _, a := range h.done {
		if a.Kind == lifecycle.Term && a.Container == "s" {
			t.Error("the sidecar was told to end while the other container runs")
		}
	}
	h.now = h.now.Add(10 * time.Second)
	h.deaf = false
	h.exitAll("a", 0)
	h.settle(t, h.see(t, s), h.now)
	equal(t, h.take(), "pod.stopping 30s", "container.exited a #0 Completed 0", "container.exited s #0 Error 143", "pod.stopped")
}

func TestContainerThatVanished(t *testing.T) {
	h := newHost()
	s := h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyNever, "a"), h.now), h.now)
	h.take()
	h.pod.Containers = nil
	h.settle(t, h.see(t, s), h.now.Add(time.Hour))
	equal(t, h.take(), "container.exited a #0 ContainerStatusUnknown 137")
}

func TestEarlierAttemptsAreRemoved(t *testing.T) {
	h := newHost()
	s := h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now)
	for range 3 {
		h.exitAll("a", 1)
		s = h.settle(t, h.see(t, s), h.now.Add(time.Hour))
	}
	if n := len(h.pod.Containers); n != 1 {
		t.Errorf("%d attempts are left, want the running one", n)
	}
}

func TestGracefulStop(t *testing.T) {
	for _, tc := range []struct {
		name  string
		deaf  bool
		grace int64
		took  time.Duration
		want  []string
	}{
		{"obeys", false, 30, 0, []string{"pod.stopping 30s", "container.exited a #0 Error 143", "pod.stopped"}},
		{"is killed when its time is up", true, 5, 5 * time.Second, []string{"pod.stopping 5s", "container.exited a #0 Error 137", "pod.stopped"}},
		{"has no time", true, 0, 0, []string{"pod.stopping 0s", "container.exited a #0 Error 137", "pod.stopped"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost()
			pod := podOf(corev1.RestartPolicyAlways, "a")
			s := h.settle(t, lifecycle.New(pod, h.now), h.now)
			h.take()
			h.deaf = tc.deaf
			h.settle(t, lifecycle.Want(s, deleted(pod, h.now, tc.grace), h.now), h.now.Add(time.Hour))
			equal(t, h.take(), tc.want...)
			if took := h.now.Sub(epoch); took != tc.took {
				t.Errorf("took %v, want %v", took, tc.took)
			}
		})
	}
}

func TestGraceShrinksAndNeverGrows(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyAlways, "a")
	s := h.settle(t, lifecycle.New(pod, h.now), h.now)
	h.deaf = true
	s = h.settle(t, lifecycle.Want(s, deleted(pod, h.now, 30), h.now), h.now)
	s = lifecycle.Want(s, deleted(pod, h.now, 600), h.now)
	if left := s.Stop.Deadline.Sub(h.now); left != 30*time.Second {
		t.Errorf("a longer grace leaves %v", left)
	}
	s = h.settle(t, lifecycle.Want(s, deleted(pod, h.now, 2), h.now), h.now.Add(time.Hour))
	if !s.Stopped || h.now.Sub(epoch) != 2*time.Second {
		t.Errorf("stopped: %v after %v, want 2s", s.Stopped, h.now.Sub(epoch))
	}
}

func TestPullBackOff(t *testing.T) {
	h := newHost()
	missing := true
	h.fail = func(a lifecycle.Action) error {
		if a.Kind == lifecycle.Pull && missing {
			return fmt.Errorf("pull: %w", runtime.ErrImageNotFound)
		}
		return nil
	}
	s := h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now.Add(70*time.Second))
	missing = false
	h.settle(t, s, h.now.Add(5*time.Minute))
	equal(t, h.take(), "pod.sandbox-created", "image.pull-started a", "image.pull-failed a ErrImagePull until 10s", "image.pull-failed a ErrImagePull until 30s",
		"image.pull-failed a ErrImagePull until 1m10s", "image.pull-failed a ErrImagePull until 2m30s", "image.pulled a", "container.started a #0")
}

func TestPullPolicies(t *testing.T) {
	for _, tc := range []struct {
		policy  corev1.PullPolicy
		image   string
		present bool
		want    []string
	}{
		{corev1.PullNever, "img:1", true, []string{"image.pulled a", "container.started a #0"}},
		{corev1.PullNever, "img:1", false, []string{"image.pull-failed a ErrImageNeverPull until 10s"}},
		{corev1.PullIfNotPresent, "img:1", true, []string{"image.pulled a", "container.started a #0"}},
		{corev1.PullAlways, "img:1", true, []string{"image.pull-started a", "image.pulled a", "container.started a #0"}},
		{corev1.PullAlways, "Not An Image", false, []string{"image.pull-failed a InvalidImageName"}},
	} {
		t.Run(fmt.Sprintf("%s/%s/%v", tc.policy, tc.image, tc.present), func(t *testing.T) {
			h := newHost()
			h.images["img:1"] = tc.present
			h.fail = func(a lifecycle.Action) error {
				if a.Image == "Not An Image" {
					return runtime.ErrInvalidImage
				}
				return nil
			}
			pod := podOf(corev1.RestartPolicyAlways, "a")
			pod.Spec.Containers[0].Image, pod.Spec.Containers[0].ImagePullPolicy = tc.image, tc.policy
			h.settle(t, lifecycle.New(pod, h.now), h.now)
			equal(t, h.take()[1:], tc.want...)
		})
	}
}

func TestMissingInputIsSaidOnceAndTriedWhenItComes(t *testing.T) {
	h := newHost()
	h.fail = func(a lifecycle.Action) error {
		if a.Kind == lifecycle.Start {
			return &runtime.Error{Reason: runtime.ReasonConfig, Message: `configmap "c" not found`}
		}
		return nil
	}
	s := h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now.Add(time.Hour))
	equal(t, h.take()[3:], "container.start-failed a CreateContainerConfigError")
	h.fail = nil
	h.settle(t, lifecycle.Inputs(s), h.now)
	equal(t, h.take(), "container.started a #0")
}

func TestStartErrorCountsAsAnAttempt(t *testing.T) {
	h := newHost()
	h.fail = func(a lifecycle.Action) error {
		if a.Kind == lifecycle.Start && a.Attempt < 2 {
			return &runtime.Error{Reason: runtime.ReasonStart, Message: "no such file", ExitCode: 128}
		}
		return nil
	}
	h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now.Add(time.Minute))
	equal(t, h.take()[3:], "container.start-failed a StartError", "container.start-failed a StartError", "container.backing-off a #2 until 10s", "container.started a #2")
}

func TestRejected(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyAlways, "a")
	s, facts := lifecycle.Reject(lifecycle.New(pod, h.now), "UnsupportedVolume", "no", h.now)
	equal(t, short(facts), "pod.rejected UnsupportedVolume")
	s = h.settle(t, s, h.now.Add(time.Hour))
	if len(h.done) > 0 {
		t.Errorf("did %v for a rejected pod", h.done)
	}
	h.settle(t, lifecycle.Want(s, deleted(pod, h.now, 30), h.now), h.now)
	equal(t, h.take(), "pod.stopped")
}

func TestImageOfARunningContainerIsReplaced(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyNever, "a")
	s := h.settle(t, lifecycle.New(pod, h.now), h.now)
	h.take()
	pod = pod.DeepCopy()
	pod.Spec.Containers[0].Image = "img:2"
	h.settle(t, lifecycle.Want(s, pod, h.now), h.now)
	equal(t, h.take(), "container.exited a #0 Error 143", "image.pull-started a", "image.pulled a", "container.started a #1")
}

// statusOf is what the facts so far make of the status of container a, in the
// parts that Resume reads.
func statusOf(facts []lifecycle.Fact) corev1.PodStatus {
	var st corev1.PodStatus
	cs := corev1.ContainerStatus{Name: "a"}
	for _, f := range facts {
		switch d := f.Data.(type) {
		case events.SandboxCreated:
			st.PodIPs = nil
			for _, ip := range d.PodIPs {
				st.PodIPs = append(st.PodIPs, corev1.PodIP{IP: ip})
			}
		case events.Started:
			if cs.State.Terminated != nil {
				cs.LastTerminationState = cs.State
			}
			cs.ContainerID, cs.RestartCount, cs.Image, cs.ImageID = "containerd://"+d.ID, int32(d.Attempt), d.Image, d.ImageID
			cs.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(d.At.Truncate(time.Second))}}
		case events.Exited:
			cs.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: int32(d.ExitCode), ContainerID: "containerd://" + d.ID,
				StartedAt: metav1.NewTime(d.StartedAt.Truncate(time.Second)), FinishedAt: metav1.NewTime(d.FinishedAt.Truncate(time.Second)),
			}}
		case events.BackingOff:
			cs.LastTerminationState = cs.State
			cs.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: d.Message}}
		}
	}
	st.ContainerStatuses = []corev1.ContainerStatus{cs}
	return st
}

func lastOf(f lifecycle.Fact) events.Recorded {
	p := events.New(events.Subject{}, 0, f.Type, events.Ref{}, f.Data)
	p.Time = f.At
	return events.Recorded{Event: p.Event, Seq: 9}
}

func TestResumeSaysNothingTwice(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyAlways, "a")
	h.settle(t, lifecycle.New(pod, h.now), h.now)
	for i := range 4 {
		pod.Status = statusOf(h.facts)
		resumed := h.see(t, lifecycle.Resume(pod, lastOf(h.facts[len(h.facts)-1]), h.now))
		said := len(h.facts)
		if a, _ := lifecycle.Next(resumed, h.now); a.Kind != lifecycle.Wait && a.Kind != lifecycle.Remove {
			t.Fatalf("round %d: a running container is left in peace, not: %v", i, a)
		}
		if len(h.facts) != said {
			t.Fatalf("round %d: said again: %v", i, short(h.facts[said:]))
		}
		h.now = h.now.Add(1300 * time.Millisecond)
		h.exitAll("a", 1)
		s := h.settle(t, h.see(t, resumed), h.now) // up to the back-off

		pod.Status = statusOf(h.facts)
		resumed = h.see(t, lifecycle.Resume(pod, lastOf(h.facts[len(h.facts)-1]), h.now))
		_, want := lifecycle.Next(s, h.now)
		_, got := lifecycle.Next(resumed, h.now)
		if d := got.Sub(want).Abs(); d > time.Second {
			t.Fatalf("round %d: a resumed back-off ends at %v, want %v", i, got, want)
		}
		h.settle(t, resumed, h.now.Add(time.Hour))
	}
	equal(t, h.take()[3:], "container.started a #0", "container.exited a #0 Error 1", "container.started a #1",
		"container.exited a #1 Error 1", "container.backing-off a #2 until 12.6s", "container.started a #2",
		"container.exited a #2 Error 1", "container.backing-off a #3 until 33.3s", "container.started a #3",
		"container.exited a #3 Error 1", "container.backing-off a #4 until 1m14.3s", "container.started a #4")
}

func TestExitWhileNobodyLooked(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyNever, "a")
	h.settle(t, lifecycle.New(pod, h.now), h.now)
	pod.Status = statusOf(h.facts)
	last := lastOf(h.facts[len(h.facts)-1])
	h.now = h.now.Add(time.Minute)
	h.exitAll("a", 4)
	died := h.now
	h.now = h.now.Add(time.Hour)
	h.facts = nil
	h.settle(t, h.see(t, lifecycle.Resume(pod, last, h.now)), h.now)
	if d, ok := h.facts[0].Data.(events.Exited); !ok || !d.FinishedAt.Equal(died) || !d.StartedAt.Equal(epoch) {
		t.Errorf("facts %v, want an exit at %v", h.facts, died)
	}
	equal(t, h.take(), "container.exited a #0 Error 4")
}

func TestStartThatWasNotRecorded(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyAlways, "a")
	h.settle(t, lifecycle.New(pod, h.now), h.now)
	pod.Status = statusOf(h.facts[:1]) // the agent died before it could say more
	h.facts = nil
	h.settle(t, h.see(t, lifecycle.Resume(pod, events.Recorded{}, h.now)), h.now)
	equal(t, h.take(), "container.started a #0")
}

func TestStopGoesOnAfterResume(t *testing.T) {
	h := newHost()
	pod := podOf(corev1.RestartPolicyAlways, "a")
	s := h.settle(t, lifecycle.New(pod, h.now), h.now)
	pod.Status = statusOf(h.facts)
	pod = deleted(pod, h.now, 30)
	h.deaf = true
	h.settle(t, lifecycle.Want(s, pod, h.now), h.now)
	last := lastOf(h.facts[len(h.facts)-1])
	h.take()
	h.now = h.now.Add(20 * time.Second)
	h.settle(t, h.see(t, lifecycle.Resume(pod, last, h.now)), h.now.Add(time.Hour))
	equal(t, h.take(), "container.exited a #0 Error 137", "pod.stopped")
	if took := h.now.Sub(epoch); took != 30*time.Second {
		t.Errorf("killed after %v, want 30s", took)
	}
}

func TestOrphanEndsSoon(t *testing.T) {
	h := newHost()
	h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now)
	h.take()
	h.deaf = true
	h.settle(t, h.see(t, lifecycle.Orphan(h.pod, h.now)), h.now.Add(time.Hour))
	equal(t, h.take(), "pod.stopping 1s", "container.exited a #0 Error 137", "pod.stopped")
}

func TestSandboxFailure(t *testing.T) {
	h := newHost()
	h.fail = func(lifecycle.Action) error { return runtime.ErrNoAddress }
	h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now.Add(time.Hour))
	equal(t, h.take(), "container.start-failed a CreatePodSandboxError")
	h.fail = func(lifecycle.Action) error { return fmt.Errorf("%w: host ports", runtime.ErrUnsupported) }
	h.settle(t, lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now), h.now.Add(time.Hour))
	equal(t, h.take(), "pod.rejected UnsupportedPod")
}

func TestStaleOutcomeIsIgnored(t *testing.T) {
	h := newHost()
	s := lifecycle.New(podOf(corev1.RestartPolicyAlways, "a"), h.now)
	a, _ := lifecycle.Next(s, h.now)
	o := lifecycle.Outcome{Action: a, At: h.now, Err: errors.New("no")}
	s, first := lifecycle.Observe(s, o)
	if _, second := lifecycle.Observe(s, o); len(first) != 1 || len(second) != 0 {
		t.Errorf("facts %v, then %v; want one, then none", short(first), short(second))
	}
}
