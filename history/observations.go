package history

import (
	"fmt"
	"strings"
	"time"

	"periplus.dev/events"
)

// observations tells the thin facts.
var observations = map[events.Type]func(events.Recorded) string{
	events.PodScheduled:     decoded(scheduled),
	events.PodUnschedulable: decoded(func(d events.Unschedulable) string { return "cannot be scheduled: " + d.Message }),
	events.PodMatured:       decoded(func(events.Matured) string { return "available: it has been ready for long enough" }),

	events.PodSandboxCreated: decoded(func(d events.SandboxCreated) string {
		if len(d.PodIPs) == 0 {
			return "sandbox created without an address"
		}
		return "sandbox created with address " + strings.Join(d.PodIPs, ", ")
	}),
	events.PodRejected: decoded(func(d events.Rejected) string { return "rejected by its node: " + because(d.Reason, d.Message) }),
	events.PodStopping: decoded(func(d events.Stopping) string {
		return "stopping: its containers have " + count(d.GraceSeconds, "second") + " to end"
	}),
	events.PodStopped: decoded(func(events.Stopped) string { return "stopped: nothing of it is left on its node" }),

	events.ImagePullStarted: decoded(func(d events.PullStarted) string {
		return fmt.Sprintf("pulling image %s for container %s", d.Image, d.Container)
	}),
	events.ImagePulled:     decoded(pulled),
	events.ImagePullFailed: decoded(pullFailed),

	events.ContainerStarted: decoded(func(d events.Started) string {
		if d.Attempt > 0 {
			return fmt.Sprintf("container %s started again, restart %d", d.Container, d.Attempt)
		}
		return fmt.Sprintf("container %s started", d.Container)
	}),
	events.ContainerStartFailed: decoded(func(d events.StartFailed) string {
		return fmt.Sprintf("container %s could not start: %s", d.Container, because(d.Reason, d.Message))
	}),
	events.ContainerExited: decoded(exited),
	events.ContainerBackingOff: decoded(func(d events.BackingOff) string {
		return fmt.Sprintf("container %s waits until %s for restart %d", d.Container, clock(d.Until), d.Attempt)
	}),
	events.ContainerReadyChanged: decoded(func(d events.ReadyChanged) string {
		s := "container " + d.Container + " is ready"
		if !d.Ready {
			s = "container " + d.Container + " is not ready"
		}
		if d.Message != "" {
			s += ": " + d.Message
		}
		return s
	}),

	events.NodeRegistered: decoded(registered),
	events.NodeReady:      decoded(func(d events.Readiness) string { return "ready: " + because(d.Reason, d.Message) }),
}

// decoded tells a payload of one type.
func decoded[T any](say func(T) string) func(events.Recorded) string {
	return func(r events.Recorded) string {
		d, err := events.Decode[T](r)
		if err != nil {
			return plain(r) + " (what it says cannot be read)"
		}
		return say(d)
	}
}

func because(reason, message string) string {
	switch {
	case message == "":
		return orUnknown(reason)
	case reason == "":
		return message
	default:
		return reason + ": " + message
	}
}

func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

// scheduled says how many nodes there were, and why the others were refused.
func scheduled(d events.Scheduled) string {
	const most = 3
	var refused []string
	for _, c := range d.Candidates {
		if !c.Fits {
			refused = append(refused, c.Node+" "+orUnknown(c.Reason))
		}
	}
	s := fmt.Sprintf("assigned to %s (%s", d.Node, count(len(d.Candidates), "candidate"))
	if more := len(refused) - most; more > 0 {
		refused = append(refused[:most], fmt.Sprintf("and %d more", more))
	}
	if len(refused) > 0 {
		s += ": " + strings.Join(refused, ", ")
	}
	return s + ")"
}

func pulled(d events.Pulled) string {
	if d.AlreadyPresent {
		return fmt.Sprintf("image %s for container %s is already there", d.Image, d.Container)
	}
	s := fmt.Sprintf("image %s for container %s pulled", d.Image, d.Container)
	if d.Millis > 0 {
		s += " in " + (time.Duration(d.Millis) * time.Millisecond).String()
	}
	if d.Bytes > 0 {
		s += fmt.Sprintf(" (%.1f MB)", float64(d.Bytes)/1e6)
	}
	return s
}

func pullFailed(d events.PullFailed) string {
	s := fmt.Sprintf("image %s for container %s could not be pulled: %s", d.Image, d.Container, because(d.Reason, d.Message))
	if !d.RetryAt.IsZero() {
		s += ", next try at " + clock(d.RetryAt)
	}
	return s
}

func exited(d events.Exited) string {
	s := fmt.Sprintf("container %s exited with %d", d.Container, d.ExitCode)
	if d.Reason != "" {
		s += " (" + d.Reason + ")"
	}
	if d.Message != "" {
		s += ": " + d.Message
	}
	return s
}

func registered(d events.Registered) string {
	var has []string
	for _, resource := range []string{"cpu", "memory", "pods"} {
		if q := d.Capacity[resource]; q != "" {
			has = append(has, resource+" "+q)
		}
	}
	if len(has) == 0 {
		return "registered"
	}
	return "registered with " + strings.Join(has, ", ")
}
