package integration

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"testing"
)

// TestRolloutSurvivesKill kills the process again and again in the midst of
// rollouts, each time some events later: every rollout ends, at no event were there too
// few pods or too many, and no half-made container stays on the node.
func TestRolloutSurvivesKill(t *testing.T) {
	needKubectl(t)
	needRealNode(t)
	c, err := realNode(201, startRegistry(t).URL())
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
	kubectl(t, c, "create", "deployment", "web", "--image=periplus.example/toolbox:v1", "--replicas=6")
	kubectl(t, c, "rollout", "status", "deployment/web", "--timeout=60s")
	for i := range 5 {
		grown := growth(t, c, 1+7*i)
		kubectl(t, c, "set", "image", "deployment/web", fmt.Sprintf("toolbox=periplus.example/toolbox:v%d", 2-i%2))
		grown()
		if err := c.kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // else the next one overtakes it
			kubectl(t, c, "rollout", "status", "deployment/web", "--timeout=90s")
		}
	}
	kubectl(t, c, "rollout", "status", "deployment/web", "--timeout=90s")
	log, err := exec.Command(given.periplus, "tail", "--from", "1", "--no-follow", "-o", "cloudevents", "--data-dir", c.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	seen, err := replay(bytes.NewReader(log), "default", "web")
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d events, %d pods in all, at most %d at a time", seen.events, seen.pods, seen.most)
	kubectl(t, c, "delete", "deployment", "web")
	err = until(t.Context(), eventuallyTimeout, func() (bool, error) {
		return kubectl(t, c, "get", "pods,rs", "-o", "name") == "", nil
	})
	if err != nil {
		t.Errorf("pods are left: %v", err)
	}
}

// growth returns a function that waits until the log has so many events more than
// now.
func growth(t *testing.T, c *binary, events int) (wait func()) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), eventuallyTimeout)
	cmd := exec.CommandContext(ctx, given.periplus, "tail", "--data-dir", c.dir, "-o", "json", "--last", "1")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() { // the newest event: what is printed from here on is new
		t.Error("tail prints nothing")
	}
	return func() {
		t.Helper()
		for range events {
			if !lines.Scan() {
				t.Errorf("the log has not grown by %d events", events)
				break
			}
		}
		stop()
		_ = cmd.Wait() // it was ended
	}
}

// kubectl runs it as a cluster's administrator and returns what it prints.
func kubectl(t *testing.T, c *binary, args ...string) string {
	t.Helper()
	cmd := exec.Command(given.kubectl, append([]string{"--kubeconfig", c.kubeconfig()}, args...)...)
	stdout, stderr, err := output(cmd)
	if err != nil {
		t.Fatalf("kubectl %q: %v: %s", args, err, stderr)
	}
	return string(stdout)
}
