package tables

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return now }

func render(t *testing.T, resource string, obj runtime.Object, text string) *metav1.Table {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	table, err := For(resource, clock).ConvertToTable(t.Context(), obj, &metav1.TableOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func line(r metav1.TableRow) string {
	var out []string
	for _, c := range r.Cells {
		out = append(out, fmt.Sprint(c))
	}
	return strings.Join(out, " | ")
}

func TestPodStatus(t *testing.T) {
	const head = "metadata: {name: web, creationTimestamp: \"2026-03-01T11:55:00Z\"%s}\nspec: {containers: [{name: a}, {name: b}], initContainers: [{name: i}, {name: j}]}\nstatus: %s"
	for _, tc := range []struct{ name, meta, status, want string }{
		{"new", "", "{phase: Pending}", "0/2 | Pending | 0"},
		{"running", "", "{phase: Running, containerStatuses: [{name: a, ready: true, state: {running: {}}}, {name: b, ready: true, state: {running: {}}}]}", "2/2 | Running | 0"},
		{"creating", "", "{phase: Pending, containerStatuses: [{name: a, state: {waiting: {reason: ContainerCreating}}}]}", "0/2 | ContainerCreating | 0"},
		{"crashing", "", "{phase: Running, containerStatuses: [{name: a, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {finishedAt: \"2026-03-01T11:59:00Z\"}}}]}", "0/2 | CrashLoopBackOff | 3 (60s ago)"},
		{"completed", "", "{phase: Succeeded, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}]}", "0/2 | Completed | 0"},
		{"one done, one runs", "", "{phase: Running, conditions: [{type: Ready, status: 'True'}], containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 | Running | 0"},
		{"one done, not ready", "", "{phase: Running, containerStatuses: [{name: a, state: {terminated: {reason: Completed}}}, {name: b, ready: true, state: {running: {}}}]}", "1/2 | NotReady | 0"},
		{"exit code", "", "{phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 3}}}]}", "0/2 | ExitCode:3 | 0"},
		{"signal", "", "{phase: Failed, containerStatuses: [{name: a, state: {terminated: {exitCode: 137, signal: 9}}}]}", "0/2 | Signal:9 | 0"},
		{"reason", "", "{phase: Failed, reason: Evicted}", "0/2 | Evicted | 0"},
		{"first init", "", "{phase: Pending, initContainerStatuses: [{name: i, state: {running: {}}}]}", "0/2 | Init:0/2 | 0"},
		{"second init", "", "{phase: Pending, initContainerStatuses: [{name: i, state: {terminated: {}}}, {name: j, state: {running: {}}}]}", "0/2 | Init:1/2 | 0"},
		{"init crashes", "", "{phase: Pending, initContainerStatuses: [{name: i, restartCount: 2, state: {waiting: {reason: CrashLoopBackOff}}}]}", "0/2 | Init:CrashLoopBackOff | 2"},
		{"init failed", "", "{phase: Failed, initContainerStatuses: [{name: i, state: {terminated: {exitCode: 1, reason: Error}}}]}", "0/2 | Init:Error | 0"},
		{"terminating", ", deletionTimestamp: \"2026-03-01T12:00:10Z\"", "{phase: Running}", "0/2 | Terminating | 0"},
		{"done and terminating", ", deletionTimestamp: \"2026-03-01T12:00:10Z\"", "{phase: Succeeded}", "0/2 | Succeeded | 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := render(t, "pods", &corev1.Pod{}, fmt.Sprintf(head, tc.meta, tc.status))
			want := "web | " + tc.want + " | 5m | <none> | <none> | <none> | <none>"
			if got := line(table.Rows[0]); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestOtherKinds(t *testing.T) {
	const created = `metadata: {name: x, creationTimestamp: "2026-02-27T12:00:00Z"}` + "\n"
	for _, tc := range []struct {
		resource   string
		obj        runtime.Object
		text, want string
	}{
		{"deployments.apps", &appsv1.Deployment{}, created + "spec: {replicas: 3, selector: {matchLabels: {a: b}}, template: {spec: {containers: [{name: c, image: i}, {name: d, image: j}]}}}\nstatus: {readyReplicas: 1, updatedReplicas: 2, availableReplicas: 1}",
			"x | 1/3 | 2 | 1 | 2d | c,d | i,j | a=b"},
		{"replicasets.apps", &appsv1.ReplicaSet{}, created + "spec: {replicas: 3, selector: {matchLabels: {a: b}}}\nstatus: {replicas: 2, readyReplicas: 1}",
			"x | 3 | 2 | 1 | 2d |  |  | a=b"},
		{"nodes", &corev1.Node{}, `metadata: {name: x, creationTimestamp: "2026-02-27T12:00:00Z", labels: {node-role.kubernetes.io/control-plane: ""}}
spec: {unschedulable: true}
status: {conditions: [{type: Ready, status: "True"}], addresses: [{type: InternalIP, address: 10.0.0.1}], nodeInfo: {kubeletVersion: v1, osImage: Debian, kernelVersion: "6", containerRuntimeVersion: "containerd://1"}}`,
			"x | Ready,SchedulingDisabled | control-plane | 2d | v1 | 10.0.0.1 | <none> | Debian | 6 | containerd://1"},
		{"namespaces", &corev1.Namespace{}, created + "status: {phase: Active}", "x | Active | 2d"},
		{"configmaps", &corev1.ConfigMap{}, created + "data: {a: b}\nbinaryData: {c: aGk=}", "x | 2 | 2d"},
		{"secrets", &corev1.Secret{}, created + "type: Opaque\ndata: {a: aGk=}", "x | Opaque | 1 | 2d"},
		{"serviceaccounts", &corev1.ServiceAccount{}, created, "x | 0 | 2d"},
		{"events", &corev1.Event{}, `{metadata: {name: x}, type: Normal, reason: Pulled, message: " done ", count: 3, firstTimestamp: "2026-03-01T11:00:00Z", lastTimestamp: "2026-03-01T11:59:30Z", involvedObject: {kind: Pod, name: web}, source: {component: kubelet, host: n1}}`,
			"30s (x3 over 60m) | Normal | Pulled | pod/web |  | kubelet, n1 | done | 60m | 3 | x"},
		{"things", &corev1.ConfigMap{}, "metadata: {name: x}", "x | <unknown>"},
	} {
		t.Run(tc.resource, func(t *testing.T) {
			table := render(t, tc.resource, tc.obj, tc.text)
			if got := line(table.Rows[0]); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if len(table.ColumnDefinitions) != len(table.Rows[0].Cells) {
				t.Errorf("%d columns, %d cells", len(table.ColumnDefinitions), len(table.Rows[0].Cells))
			}
		})
	}
}

func TestListsAndColumns(t *testing.T) {
	left := int64(7)
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "9", Continue: "c", RemainingItemCount: &left}, Items: make([]corev1.Pod, 2)}
	table, err := For("pods", clock).ConvertToTable(t.Context(), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 2 || table.ResourceVersion != "9" || table.Continue != "c" || *table.RemainingItemCount != 7 {
		t.Errorf("table %+v", table)
	}
	var wide []string
	for _, c := range table.ColumnDefinitions {
		if c.Priority > 0 {
			wide = append(wide, c.Name)
		}
	}
	if got := strings.Join(wide, ","); got != "IP,Node,Nominated Node,Readiness Gates" {
		t.Errorf("wide columns %s", got)
	}
	if c := table.ColumnDefinitions[0]; c.Format != "name" || c.Description == "" {
		t.Errorf("name column %+v", c)
	}
	table, err = For("pods", clock).ConvertToTable(t.Context(), list, &metav1.TableOptions{NoHeaders: true})
	if err != nil || table.ColumnDefinitions != nil {
		t.Errorf("columns %v, error %v", table.ColumnDefinitions, err)
	}
}
