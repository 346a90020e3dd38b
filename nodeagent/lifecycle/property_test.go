package lifecycle_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"periplus.dev/events"
	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/runtime"
)

var failures = []error{
	nil, nil, runtime.ErrTemporary, runtime.ErrImageNotFound, runtime.ErrInvalidImage, runtime.ErrNotFound, runtime.ErrNoAddress, errors.New("whatever"),
	&runtime.Error{Reason: runtime.ReasonStart, ExitCode: 128}, &runtime.Error{Reason: runtime.ReasonConfig}, &runtime.Error{Reason: runtime.ReasonCreate},
}

func drawPod(t *rapid.T) *corev1.Pod {
	pod := podOf(rapid.SampledFrom([]corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}).Draw(t, "policy"))
	for i := range rapid.IntRange(0, 2).Draw(t, "inits") {
		withInit(pod, rapid.Bool().Draw(t, "sidecar"), fmt.Sprint("i", i))
	}
	for i := range rapid.IntRange(1, 3).Draw(t, "containers") {
		pod.Spec.Containers = append(pod.Spec.Containers, podOf("", fmt.Sprint("c", i)).Spec.Containers...)
	}
	grace := rapid.Int64Range(0, 60).Draw(t, "grace")
	pod.Spec.TerminationGracePeriodSeconds = &grace
	return pod
}

// live takes a pod through a life of luck and misfortune. It checks what has to
// hold at each moment, and returns the state at some arbitrary point.
func live(t *rapid.T, h *host, pod *corev1.Pod) lifecycle.State {
	s := lifecycle.New(pod, h.now)
	attempts := map[string]int{}
	deadline := time.Time{}
	for range rapid.IntRange(0, 40).Draw(t, "moments") {
		said := len(h.facts)
		switch rapid.IntRange(0, 6).Draw(t, "moment") {
		case 0, 1, 2:
			if err := rapid.SampledFrom(failures).Draw(t, "failure"); err != nil {
				h.fail = func(lifecycle.Action) error { return err }
			}
			s, _, _ = h.step(t, s)
			h.fail = nil
		case 3:
			name := rapid.SampledFrom(s.Containers).Draw(t, "container").Name
			h.exitAll(name, rapid.SampledFrom([]int{0, 1, 137}).Draw(t, "code"))
			s = h.see(t, s)
		case 4:
			h.now = h.now.Add(time.Duration(rapid.IntRange(1, 1200).Draw(t, "seconds")) * time.Second)
		case 5:
			if rapid.IntRange(0, 9).Draw(t, "deleted") == 0 {
				s = lifecycle.Want(s, deleted(pod, h.now, rapid.Int64Range(0, 90).Draw(t, "seconds")), h.now)
			}
		case 6:
			if rapid.IntRange(0, 9).Draw(t, "restarted") == 0 { // the machine
				h.pod.Sandbox = nil
				for i := range h.pod.Containers {
					h.pod.Containers[i].Phase = runtime.Lost
				}
				s = h.see(t, s)
			}
		}
		if !deadline.IsZero() && s.Stop.Deadline.After(deadline) {
			t.Fatalf("the deadline moved from %v to %v", deadline, s.Stop.Deadline)
		}
		deadline = s.Stop.Deadline
		for _, f := range h.facts[said:] {
			if d, ok := f.Data.(events.Started); ok {
				if last, ran := attempts[d.Container]; ran && d.Attempt <= last {
					t.Fatalf("attempt %d of %s was started after %d", d.Attempt, d.Container, last)
				}
				attempts[d.Container] = d.Attempt
			}
		}
	}
	return s
}

// Whatever happened before, an unwanted pod is gone after a bounded number of
// actions and no later than its grace period.
func TestUnwantedPodAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHost()
		pod := drawPod(t)
		s := live(t, h, pod)
		h.deaf = rapid.Bool().Draw(t, "deaf")
		h.done = nil
		s = lifecycle.Want(s, deleted(pod, h.now, 30), h.now)
		end := earliest(h.now.Add(30*time.Second), s.Stop.RetryAt)
		s = h.settle(t, s, h.now.Add(time.Hour))
		if !s.Stopped {
			t.Fatalf("not stopped; actions %v", h.done)
		}
		if len(h.done) > 2*len(s.Containers)+1 {
			t.Fatalf("%d actions for %d containers: %v", len(h.done), len(s.Containers), h.done)
		}
		if h.now.After(end) {
			t.Fatalf("took until %v, want at most %v", h.now, end)
		}
		if h.pod.Sandbox != nil || len(h.pod.Containers) > 0 {
			t.Fatalf("left behind: %+v", h.pod)
		}
	})
}

// earliest is the time by which a pod has to be gone, given when its removal
// may be tried again.
func earliest(end, retry time.Time) time.Time {
	if retry.After(end) {
		return retry
	}
	return end
}

// Whatever happened before, on a healthy node every container of a wanted pod
// comes to run, or has run to its end.
func TestWantedPodRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := newHost()
		s := live(t, h, drawPod(t))
		if s.Stop.Wanted || s.Rejected {
			return
		}
		h.done = nil
		for range len(s.Containers) {
			s = h.settle(t, s, h.now.Add(time.Hour))
			for _, c := range s.Containers {
				if c.Init {
					h.exitAll(c.Name, 0)
				}
			}
			s = h.see(t, s)
		}
		s = h.settle(t, s, h.now.Add(time.Hour))
		if s.Finished() {
			return
		}
		for _, c := range s.Containers {
			if c.Phase == lifecycle.Waiting && !c.Fetch.Try.Never && (!c.Init || !ran(s)) {
				if blocked(s, c.Name) {
					break
				}
				t.Fatalf("container %s still waits: %+v", c.Name, c)
			}
		}
		if most := 8 * len(s.Containers) * len(s.Containers); len(h.done) > most+40 {
			t.Fatalf("%d actions, at most %d", len(h.done), most+40)
		}
	})
}

func ran(s lifecycle.State) bool {
	for _, c := range s.Containers {
		if !c.Init && !c.Sidecar && c.Phase != lifecycle.Waiting {
			return true
		}
	}
	return false
}

// blocked reports whether an init container before the named one can never be
// started because its image's name is none.
func blocked(s lifecycle.State, name string) bool {
	for _, c := range s.Containers {
		if c.Name == name {
			return false
		}
		if c.Fetch.Try.Never {
			return true
		}
	}
	return false
}

func TestRestartDelayGrowsAndIsCapped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 1<<20).Draw(t, "crashes")
		a, b := lifecycle.RestartDelay(n), lifecycle.RestartDelay(n+1)
		if a > b || b > 5*time.Minute || n == 0 && a != 0 || n > 0 && a < 10*time.Second {
			t.Fatalf("%v, then %v", a, b)
		}
	})
}
