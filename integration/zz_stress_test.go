package integration

import (
	"bytes"
	"context"
	"os/exec"
	"testing"
	"time"
	"fmt"
	"strings"
)

func TestZZStress(t *testing.T) {
	for _, real := range []bool{true} {
		t.Run(fmt.Sprint(real), func(t *testing.T) {
			var c *binary
			var err error
			if real {
				c, err = realNode(201, startRegistry(t).URL())
			} else {
				c, err = newHollow()
			}
			if err != nil { t.Fatal(err) }
			t.Cleanup(func() { if err := c.end(context.WithoutCancel(t.Context())); err != nil { t.Error(err) } })
			k := func(args ...string) string {
				cmd := exec.Command(given.kubectl, append([]string{"--kubeconfig", c.kubeconfig()}, args...)...)
				out, err := cmd.CombinedOutput()
				if err != nil { t.Errorf("%v: %v: %s", args, err, out) }
				return string(out)
			}
			if err := c.up(t.Context()); err != nil { t.Fatal(err) }
			k("create", "deployment", "web", "--image=periplus.example/toolbox:v1", "--replicas=6")
			k("rollout", "status", "deployment/web", "--timeout=60s")
			for i := range 6 {
				k("set", "image", "deployment/web", fmt.Sprintf("toolbox=periplus.example/toolbox:v%d", 2-i%2))
				<-time.After(time.Duration(i*60+20) * time.Millisecond)
				if err := c.kill(t.Context()); err != nil { t.Fatal(err) }
				if err := c.up(t.Context()); err != nil { t.Fatal(err) }
				if i%2 == 1 { t.Log(k("rollout", "status", "deployment/web", "--timeout=90s")) }
			}
			t.Log(k("get", "pods,rs,deploy", "-o", "wide"))
			names, _ := exec.Command("sh", "-c", given.kubectl+" --kubeconfig "+c.kubeconfig()+" get pods | grep Terminating | awk '{print $1}'").Output()
			<-time.After(5*time.Second)
			for _, n := range strings.Fields(string(names)) {
				h, _ := exec.Command(given.periplus, "history", "pod/"+n, "--data-dir", c.dir).CombinedOutput()
				t.Log(string(h))
			}
			l, _ := exec.Command("sh", "-c", "grep -v '\"info\"' "+c.dir+"/periplus.log | tail -40; tail -40 "+c.dir+"/node/containerd/containerd.log").Output()
			t.Log(string(l))
			out, err := exec.Command(given.periplus, "tail", "--from", "1", "--no-follow", "-o", "cloudevents", "--data-dir", c.dir).Output()
			if err != nil { t.Error(err) }
			r, err := replay(bytes.NewReader(out), "default", "web")
			t.Log(r, err)
			k("delete", "deployment", "web")
			err = until(t.Context(), time.Minute, func() (bool, error) { return k("get", "pods,rs", "-o", "name") == "", nil })
			t.Log(err)
			t.Log(k("get", "pods"))
		})
	}
}
