package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// replayed is what a log says about the rollouts of a deployment.
type replayed struct {
	events int
	pods   int // that ever were
	most   int // at the same time
}

// cloudEvent is what the replay needs of an event as `tail -o cloudevents` prints it.
type cloudEvent struct {
	Sequence string `json:"sequence"`
	Type     string `json:"type"`
	Subject  string `json:"subject"`
	Data     struct {
		UID       string          `json:"uid"`
		Object    json.RawMessage `json:"object"`
		Container string          `json:"container"`
		Ready     bool            `json:"ready"`
	} `json:"data"`
}

// replay reads a whole log and holds it to what a deployment promises: no event
// that takes a ready pod away leaves fewer ready ones than maxUnavailable allows,
// and none that adds a pod makes more than maxSurge allows. It shares no code with
// the fold. It is for deployments whose pods have one container, all of whose
// events are the system's own: a person may delete what he likes.
func replay(log io.Reader, namespace, deployment string) (replayed, error) {
	r := rollouts{subject: "apps/deployments/" + namespace + "/" + deployment, namespace: namespace, name: deployment, pods: map[string]*replayedPod{}}
	var out replayed
	for in := json.NewDecoder(log); ; {
		var e cloudEvent
		if err := in.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return out, fmt.Errorf("read event: %w", err)
		}
		ready, all := r.count()
		if err := r.fold(e); err != nil {
			return out, fmt.Errorf("event %s, %s of %s: %w", e.Sequence, e.Type, e.Subject, err)
		}
		nowReady, now := r.count()
		if need := r.replicas - r.unavailable; nowReady < ready && nowReady < need {
			return out, fmt.Errorf("event %s, %s of %s: %d ready pods, of %d at least %d have to be", e.Sequence, e.Type, e.Subject, nowReady, r.replicas, need)
		}
		if limit := r.replicas + r.surge; now > all && now > limit {
			return out, fmt.Errorf("event %s, %s of %s: %d pods, at most %d may be", e.Sequence, e.Type, e.Subject, now, limit)
		}
		out.events++
		out.most = max(out.most, now)
	}
	out.pods = len(r.pods)
	if out.pods == 0 {
		return out, fmt.Errorf("the log has no pod of %s/%s", namespace, deployment)
	}
	return out, nil
}

type replayedPod struct{ ready, gone bool }

// rollouts is a deployment and its pods, as far as the bounds are concerned.
type rollouts struct {
	subject, namespace, name     string
	selector                     map[string]string
	replicas, unavailable, surge int
	pods                         map[string]*replayedPod // by UID
}

func (r *rollouts) count() (ready, all int) {
	for _, p := range r.pods {
		if !p.gone {
			all++
			if p.ready {
				ready++
			}
		}
	}
	return ready, all
}

func (r *rollouts) fold(e cloudEvent) error {
	fact := strings.TrimSuffix(strings.TrimPrefix(e.Type, "dev.periplus."), ".v1")
	switch {
	case e.Subject == r.subject:
		return r.foldDeployment(e)
	case !strings.HasPrefix(e.Subject, "core/pods/"+r.namespace+"/"):
		return nil
	case fact == "container.started", fact == "container.readiness-changed":
		r.setReady(e.Data.UID, e.Data.Ready)
	case fact == "container.exited", fact == "pod.rejected", fact == "pod.stopped":
		r.setReady(e.Data.UID, false)
	case slices.Contains([]string{"pod.finalized", "pod.deleted", "pod.collected", "pod.swept"}, fact):
		if p := r.pods[e.Data.UID]; p != nil {
			p.gone = true
		}
	case len(e.Data.Object) > 0:
		return r.foldPod(e)
	}
	return nil
}

func (r *rollouts) setReady(uid string, ready bool) {
	if p := r.pods[uid]; p != nil {
		p.ready = ready
	}
}

func (r *rollouts) foldPod(e cloudEvent) error {
	var pod corev1.Pod
	if err := json.Unmarshal(e.Data.Object, &pod); err != nil {
		return err
	}
	for name, value := range r.selector {
		if pod.Labels[name] != value {
			return nil
		}
	}
	if len(r.selector) == 0 {
		return nil
	}
	if r.pods[e.Data.UID] == nil {
		r.pods[e.Data.UID] = &replayedPod{}
	}
	r.pods[e.Data.UID].gone = pod.DeletionTimestamp != nil
	return nil
}

func (r *rollouts) foldDeployment(e cloudEvent) error {
	if len(e.Data.Object) == 0 {
		return nil // it is gone, or this is its status
	}
	var d appsv1.Deployment
	if err := json.Unmarshal(e.Data.Object, &d); err != nil {
		return err
	}
	if d.DeletionTimestamp != nil || d.Spec.Replicas == nil || d.Spec.Strategy.RollingUpdate == nil {
		r.replicas, r.unavailable = 0, 0 // what goes has no bounds
		return nil
	}
	r.selector, r.replicas = d.Spec.Selector.MatchLabels, int(*d.Spec.Replicas)
	var err error
	if r.unavailable, err = intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxUnavailable, r.replicas, false); err != nil {
		return err
	}
	r.surge, err = intstr.GetScaledValueFromIntOrPercent(d.Spec.Strategy.RollingUpdate.MaxSurge, r.replicas, true)
	return err
}

// TestReplay holds that the replay finds what it is there to find.
func TestReplay(t *testing.T) {
	one, none := intstr.FromInt32(1), intstr.FromInt32(0)
	web := appsv1.Deployment{Spec: appsv1.DeploymentSpec{
		Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &one, MaxUnavailable: &none}},
	}}
	deployed := line("deployment.created", "apps/deployments/default/web", map[string]any{"uid": "d", "object": web})
	fine := []string{deployed, podLine("a", false), started("a"), podLine("b", false), started("b"), podLine("c", false)}
	for name, c := range map[string]struct {
		events []string
		want   string // part of the error, empty for none
	}{
		"a rollout":               {append(slices.Clone(fine), started("c"), podLine("a", true)), ""},
		"one too early":           {append(slices.Clone(fine), podLine("a", true)), "1 ready pods, of 2 at least 2"},
		"one has ended":           {append(slices.Clone(fine), line("container.exited", "core/pods/default/a", map[string]any{"uid": "a"})), "1 ready pods"},
		"one too many":            {append(slices.Clone(fine), podLine("d", false)), "4 pods, at most 3"},
		"nothing":                 {nil, "no pod"},
		"pods of somebody else's": {[]string{podLine("a", false)}, "no pod"},
	} {
		_, err := replay(strings.NewReader(strings.Join(c.events, "\n")), "default", "web")
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func line(fact, subject string, data any) string {
	raw, err := json.Marshal(map[string]any{"type": "dev.periplus." + fact + ".v1", "subject": subject, "data": data})
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func podLine(uid string, going bool) string {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	fact := "pod.requested"
	if going {
		fact, pod.DeletionTimestamp = "pod.retired", &metav1.Time{Time: metav1.Now().Time}
	}
	return line(fact, "core/pods/default/"+uid, map[string]any{"uid": uid, "object": pod})
}

func started(uid string) string {
	return line("container.started", "core/pods/default/"+uid, map[string]any{"uid": uid, "container": "web", "ready": true})
}
