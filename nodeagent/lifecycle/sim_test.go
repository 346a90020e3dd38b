package lifecycle_test

import (
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

var epoch = time.Date(2026, 11, 20, 3, 0, 0, 0, time.UTC)

// fatal is what the host needs of a test, ordinary or of a property.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

// host is a node with one pod, as simple as can be: images appear when pulled,
// containers run until somebody ends them.
type host struct {
	now    time.Time
	pod    runtime.PodState
	images map[string]bool
	fail   func(lifecycle.Action) error // asked before each action
	deaf   bool                         // containers ignore being told to end
	facts  []lifecycle.Fact
	done   []lifecycle.Action
}

func newHost() *host { return &host{now: epoch, images: map[string]bool{}} }

func (h *host) perform(a lifecycle.Action) lifecycle.Outcome {
	h.done = append(h.done, a)
	o := lifecycle.Outcome{Action: a, At: h.now}
	if h.fail != nil {
		if o.Err = h.fail(a); o.Err != nil {
			return o
		}
	}
	switch a.Kind {
	case lifecycle.CreateSandbox:
		h.pod.Sandbox = &runtime.Sandbox{IPs: []string{"10.0.0.1"}, CreatedAt: h.now}
		o.Sandbox = *h.pod.Sandbox
	case lifecycle.Look:
		o.Found, o.Image = h.images[a.Image], runtime.Image{Digest: "sha256:" + a.Image}
	case lifecycle.Pull:
		h.images[a.Image] = true
		o.Image = runtime.Image{Digest: "sha256:" + a.Image}
	case lifecycle.Start:
		o.Container = runtime.Container{ID: fmt.Sprintf("%s-%d", a.Container, a.Attempt), Name: a.Container, Attempt: a.Attempt, ImageID: "img@sha256:" + a.Image, StartedAt: h.now}
		h.pod.Containers = append(h.pod.Containers, runtime.ContainerState{Container: o.Container, Phase: runtime.Running})
	case lifecycle.Term:
		if !h.deaf {
			h.exit(a.ID, 143)
		}
	case lifecycle.Kill:
		h.exit(a.ID, 137)
	case lifecycle.Remove:
		h.pod.Containers = slices.DeleteFunc(h.pod.Containers, func(c runtime.ContainerState) bool { return c.ID == a.ID })
	case lifecycle.RemoveSandbox:
		h.pod = runtime.PodState{}
	default:
		panic("no action: " + a.Kind.String())
	}
	return o
}

func (h *host) exit(id string, code int) {
	for i := range h.pod.Containers {
		if c := &h.pod.Containers[i]; c.ID == id && c.Phase == runtime.Running {
			c.Phase, c.ExitCode, c.FinishedAt = runtime.Exited, code, h.now
		}
	}
}

// exitAll ends every running container of a name.
func (h *host) exitAll(name string, code int) {
	for _, c := range h.pod.Containers {
		if c.Name == name {
			h.exit(c.ID, code)
		}
	}
}

// step does one action, and returns false if there was none; again is when to
// ask again.
func (h *host) step(t fatal, s lifecycle.State) (next lifecycle.State, again time.Time, acted bool) {
	t.Helper()
	a, again := lifecycle.Next(s, h.now)
	if a.Kind == lifecycle.Wait {
		if !again.IsZero() && !again.After(h.now) {
			t.Fatalf("asks to be woken at %v, but it is %v", again, h.now)
		}
		return s, again, false
	}
	s, facts := lifecycle.Begin(s, a, h.now)
	h.facts = append(h.facts, facts...)
	o := h.perform(a)
	s, facts = lifecycle.Observe(s, o)
	h.facts = append(h.facts, facts...)
	if _, again := lifecycle.Observe(s, o); len(again) > 0 {
		t.Fatalf("the same outcome twice yields %v", short(again))
	}
	s = h.see(t, s)
	return s, time.Time{}, true
}

func (h *host) see(t fatal, s lifecycle.State) lifecycle.State {
	t.Helper()
	s, facts := lifecycle.Seen(s, &h.pod, h.now)
	h.facts = append(h.facts, facts...)
	if err := s.Valid(); err != nil {
		t.Fatalf("state is not valid: %v", err)
	}
	if _, again := lifecycle.Seen(s, &h.pod, h.now); len(again) > 0 {
		t.Fatalf("seeing the same twice yields %v", short(again))
	}
	return s
}

// settle acts, and lets time pass to whenever the state wants to be asked again
// but no further than until, until nothing is left to do.
func (h *host) settle(t fatal, s lifecycle.State, until time.Time) lifecycle.State {
	t.Helper()
	for range 1000 {
		next, again, acted := h.step(t, s)
		s = next
		if acted {
			continue
		}
		if again.IsZero() || again.After(until) {
			return s
		}
		h.now = again
	}
	t.Fatalf("does not settle; last actions %v", h.done[len(h.done)-10:])
	return s
}

// take returns the facts so far, short, and forgets them.
func (h *host) take() []string {
	out := short(h.facts)
	h.facts = nil
	return out
}

func short(facts []lifecycle.Fact) []string {
	var out []string
	for _, f := range facts {
		text := f.Type.Short()
		if f.Container != "" {
			text += " " + f.Container
		}
		switch d := f.Data.(type) {
		case events.Started:
			text += fmt.Sprintf(" #%d", d.Attempt)
		case events.Exited:
			text += fmt.Sprintf(" #%d %s %d", d.Attempt, d.Reason, d.ExitCode)
		case events.BackingOff:
			text += fmt.Sprintf(" #%d until %s", d.Attempt, d.Until.Sub(epoch))
		case events.PullFailed:
			text += " " + d.Reason
			if !d.RetryAt.IsZero() {
				text += fmt.Sprintf(" until %s", d.RetryAt.Sub(epoch))
			}
		case events.StartFailed:
			text += " " + d.Reason
		case events.Stopping:
			text += fmt.Sprintf(" %ds", d.GraceSeconds)
		case events.Rejected:
			text += " " + d.Reason
		}
		out = append(out, text)
	}
	return out
}

func podOf(policy corev1.RestartPolicy, names ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u1"}, Spec: corev1.PodSpec{RestartPolicy: policy}}
	for _, n := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n, Image: "img:1", ImagePullPolicy: corev1.PullIfNotPresent})
	}
	return p
}

func withInit(p *corev1.Pod, sidecar bool, names ...string) *corev1.Pod {
	for _, n := range names {
		c := corev1.Container{Name: n, Image: "img:1", ImagePullPolicy: corev1.PullIfNotPresent}
		if sidecar {
			always := corev1.ContainerRestartPolicyAlways
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	return p
}

func deleted(p *corev1.Pod, at time.Time, grace int64) *corev1.Pod {
	p = p.DeepCopy()
	when := metav1.NewTime(at.Add(time.Duration(grace) * time.Second))
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &when, &grace
	return p
}

func equal(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("facts:\n  got  %q\n  want %q", got, want)
	}
}
