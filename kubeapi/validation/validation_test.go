package validation

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"periplus.dev/kubeapi/defaults"
)

func parse[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return out
}

// says checks that the only complaint is the one that is wanted, or none.
func says(t *testing.T, name string, errs field.ErrorList, want string) {
	t.Helper()
	if want == "" {
		if len(errs) > 0 {
			t.Errorf("%s: %v", name, errs)
		}
		return
	}
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), want) {
		t.Errorf("%s: %v\nwant only %s", name, errs, want)
	}
}

func pod(t *testing.T, spec string) *corev1.Pod {
	p := parse[corev1.Pod](t, "spec: {"+spec+"}")
	defaults.Pod(p)
	return p
}

const c = "containers: [{name: c, image: i}]"

func TestPod(t *testing.T) {
	in := func(s string) string { return "containers: [{name: c, image: i, " + s + "}]" }
	for spec, want := range map[string]string{
		c:                                      "",
		"containers: []":                       "spec.containers: Required value",
		"containers: [{name: C, image: i}]":    `spec.containers[0].name: Invalid value: "C"`,
		"containers: [{name: c, image: ' i'}]": "must not have leading or trailing whitespace",
		c + ", initContainers: [{name: c, image: i}]":                                       `spec.initContainers[0].name: Duplicate value: "c"`,
		c + ", initContainers: [{name: d, image: i, lifecycle: {}}]":                        "may not be set for init containers without restartPolicy=Always",
		in("imagePullPolicy: Often"):                                                        `Unsupported value: "Often"`,
		in("ports: [{containerPort: 80}, {containerPort: 81, name: http}]"):                 "",
		in("ports: [{containerPort: 80, name: a}, {containerPort: 81, name: a}]"):           `ports[1].name: Duplicate value: "a"`,
		in("ports: [{hostPort: 5}]"):                                                        "containerPort: Required value",
		in("ports: [{containerPort: 80, hostPort: 70000}]"):                                 "must be between 1 and 65535, inclusive",
		in("ports: [{containerPort: 80, hostPort: 8}, {containerPort: 81, hostPort: 8}]"):   `hostPort: Duplicate value: "TCP//8"`,
		in("ports: [{containerPort: 80, protocol: ICMP}]"):                                  `Unsupported value: "ICMP"`,
		in("env: [{name: A, value: b}]"):                                                    "",
		in("env: [{value: b}]"):                                                             "env[0].name: Required value",
		in("env: [{name: A, valueFrom: {}}]"):                                               "must specify one of: `fieldRef`",
		in("env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"): "may not be specified when `value` is not empty",
		in("env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.foo}}}]"):                `Unsupported value: "spec.foo"`,
		in("env: [{name: A, valueFrom: {configMapKeyRef: {name: m}}}]"):                     "configMapKeyRef.key: Required value",
		in("envFrom: [{}]"): "must specify one of: `configMapRef` or `secretRef`",
		in("resources: {limits: {cpu: 1, example.org/gpu: 1}}"):                                                     "",
		in("resources: {limits: {example.org/gpu: 1500m}, requests: {example.org/gpu: 1}}"):                         "must be an integer",
		in("resources: {requests: {example.org/gpu: 1}}"):                                                           "Limit must be set for non overcommitable resources",
		in("resources: {limits: {memory: 1Gi}, requests: {memory: 2Gi}}"):                                           "must be less than or equal to memory limit of 1Gi",
		in("livenessProbe: {httpGet: {port: 80}}"):                                                                  "",
		in("livenessProbe: {httpGet: {port: 0}}"):                                                                   "must be between 1 and 65535, inclusive",
		in("livenessProbe: {exec: {}}"):                                                                             "exec.command: Required value",
		in("livenessProbe: {tcpSocket: {port: x}, exec: {command: [a]}}"):                                           "may not specify more than 1 handler type",
		in("livenessProbe: {tcpSocket: {port: x}, successThreshold: 2}"):                                            "must be 1",
		in("readinessProbe: {tcpSocket: {port: x}, successThreshold: 2}"):                                           "",
		in("readinessProbe: {tcpSocket: {port: x}, periodSeconds: -1}"):                                             "must be greater than or equal to 0",
		in("lifecycle: {preStop: {}}"):                                                                              "must specify a handler type",
		in("securityContext: {privileged: true, allowPrivilegeEscalation: false}"):                                  "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
		in("securityContext: {runAsUser: -1}"):                                                                      "runAsUser: Invalid value: -1",
		in("volumeMounts: [{name: v, mountPath: /v}], workingDir: /") + ", volumes: [{name: v}]":                    "",
		in("volumeMounts: [{name: v, mountPath: /v}]"):                                                              `volumeMounts[0].name: Not found: "v"`,
		in("volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]") + ", volumes: [{name: v}]":         "must be unique",
		in("volumeMounts: [{name: v, mountPath: /v, subPath: ../x}]") + ", volumes: [{name: v}]":                    "must not contain '..'",
		c + ", volumes: [{name: v}, {name: v}]":                                                                     `volumes[1].name: Duplicate value: "v"`,
		c + ", volumes: [{name: v, configMap: {}}]":                                                                 "configMap.name: Required value",
		c + ", volumes: [{name: v, secret: {secretName: s, defaultMode: 4096}}]":                                    "must be a number between 0 and 0777",
		c + ", volumes: [{name: v, hostPath: {path: /a/../b}}]":                                                     "must not contain '..'",
		c + ", volumes: [{name: v, hostPath: {path: /a, type: Thing}}]":                                             `Unsupported value: "Thing"`,
		c + ", volumes: [{name: v, emptyDir: {}, hostPath: {path: /a}}]":                                            "may not specify more than 1 volume type",
		c + ", volumes: [{name: v, downwardAPI: {items: [{path: a}]}}]":                                             "one of fieldRef and resourceFieldRef is required",
		c + ", restartPolicy: Sometimes":                                                                            `restartPolicy: Unsupported value: "Sometimes"`,
		c + ", dnsPolicy: None":                                                                                     "must provide at least one DNS nameserver",
		c + ", activeDeadlineSeconds: 0":                                                                            "must be between 1 and 2147483647, inclusive",
		c + ", hostname: 'A B'":                                                                                     `hostname: Invalid value: "A B"`,
		c + ", serviceAccountName: 'A B'":                                                                           `serviceAccountName: Invalid value: "A B"`,
		c + ", nodeSelector: {'a b': c}":                                                                            `nodeSelector: Invalid value: "a b"`,
		c + ", tolerations: [{operator: Exists}]":                                                                   "",
		c + ", tolerations: [{effect: NoSchedule}]":                                                                 "operator must be Exists when `key` is empty",
		c + ", tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 3}]":                                   "effect must be 'NoExecute' when `tolerationSeconds` is set",
		c + ", tolerations: [{key: a, operator: Exists, value: b}]":                                                 "value must be empty when `operator` is 'Exists'",
		c + ", affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}": "must have at least one node selector term",
		c + ", hostAliases: [{ip: nonsense, hostnames: [a]}]":                                                       "must be a valid IP address",
		c + ", ephemeralContainers: [{name: e, image: i}]":                                                          "cannot be set on create",
	} {
		says(t, spec, Pod(pod(t, spec)), want)
	}
}

func TestPodUpdate(t *testing.T) {
	const old = "activeDeadlineSeconds: 100, tolerations: [{key: a, operator: Exists}], " + c
	for spec, want := range map[string]string{
		old: "",
		strings.Replace(old, "image: i", "image: j", 1):                             "",
		strings.Replace(old, "100", "50", 1):                                        "",
		strings.Replace(old, "100", "150", 1):                                       "must be less than or equal to previous value",
		strings.Replace(old, "operator: Exists}", "operator: Exists}, {key: b}", 1): "",
		strings.Replace(old, "key: a", "key: b", 1):                                 "existing toleration can not be modified",
		strings.Replace(old, "image: i}", "image: i}, {name: d, image: i}", 1):      "pod updates may not add or remove containers",
		old + ", nodeName: n1":                                                      "pod updates may not change fields other than",
		old + ", terminationGracePeriodSeconds: 1":                                  "pod updates may not change fields other than",
	} {
		says(t, spec, PodUpdate(pod(t, spec), pod(t, old)), want)
	}
}

func TestWorkloads(t *testing.T) {
	const good = "{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {" + c + "}}}"
	for spec, want := range map[string]string{
		good: "",
		strings.Replace(good, "{selector", "{replicas: -1, selector", 1):                                                 "spec.replicas: Invalid value: -1",
		strings.Replace(good, "matchLabels: {a: b}", "", 1):                                                              "empty selector is invalid for deployment",
		strings.Replace(good, "labels: {a: b}", "labels: {a: c}", 1):                                                     "`selector` does not match template `labels`",
		strings.Replace(good, "{selector", "{minReadySeconds: 700, selector", 1):                                         "must be greater than minReadySeconds",
		strings.Replace(good, "{selector", "{revisionHistoryLimit: -1, selector", 1):                                     "revisionHistoryLimit: Invalid value: -1",
		strings.Replace(good, "{selector", "{strategy: {type: Magic}, selector", 1):                                      `Unsupported value: "Magic"`,
		strings.Replace(good, "{selector", "{strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0%}}, selector", 1): "may not be 0 when `maxSurge` is 0",
		strings.Replace(good, "{selector", "{strategy: {rollingUpdate: {maxSurge: x}}, selector", 1):                     "a valid percent string must be a numeric string followed by an ending '%'",
		strings.Replace(good, "{selector", "{strategy: {rollingUpdate: {maxUnavailable: 120%}}, selector", 1):            "must not be greater than 100%",
		strings.Replace(good, "{selector", "{strategy: {rollingUpdate: {maxSurge: 120%}}, selector", 1):                  "",
		strings.Replace(good, c, "restartPolicy: OnFailure, "+c, 1):                                                      `Unsupported value: "OnFailure": supported values: "Always"`,
		strings.Replace(good, c, "activeDeadlineSeconds: 5, "+c, 1):                                                      "activeDeadlineSeconds in ReplicaSet is not Supported",
	} {
		d := parse[appsv1.Deployment](t, "spec: "+spec)
		defaults.Deployment(d)
		says(t, spec, Deployment(d), want)
	}
	none := parse[appsv1.Deployment](t, "spec: "+strings.Replace(good, "selector: {matchLabels: {a: b}}, ", "", 1))
	defaults.Deployment(none)
	errs := Deployment(none)
	if len(errs) != 2 {
		t.Fatalf("no selector: %v, want two errors", errs)
	}
	says(t, "no selector", errs[:1], "spec.selector: Required value")
	says(t, "no selector", errs[1:], "`selector` does not match template `labels`")
	d, r := parse[appsv1.Deployment](t, "spec: "+good), parse[appsv1.ReplicaSet](t, "spec: "+good)
	defaults.Deployment(d)
	defaults.ReplicaSet(r)
	says(t, "same", ReplicaSetUpdate(r, r), "")
	moved, set := d.DeepCopy(), r.DeepCopy()
	moved.Spec.Selector.MatchLabels = map[string]string{"x": "y"}
	moved.Spec.Template.Labels = map[string]string{"x": "y"}
	set.Spec.Selector, set.Spec.Template.Labels = moved.Spec.Selector, moved.Spec.Template.Labels
	says(t, "deployment selector", DeploymentUpdate(moved, d), "spec.selector: Invalid value")
	says(t, "replica set selector", ReplicaSetUpdate(set, r), "field is immutable")
}

func TestOtherKinds(t *testing.T) {
	cm := func(s string) *corev1.ConfigMap { return parse[corev1.ConfigMap](t, s) }
	secret := func(s string) *corev1.Secret { return parse[corev1.Secret](t, s) }
	node := func(s string) *corev1.Node { return parse[corev1.Node](t, s) }
	huge := strings.Repeat("x", corev1.MaxSecretSize+1)
	for name, tc := range map[string]struct {
		errs field.ErrorList
		want string
	}{
		"map":             {ConfigMap(cm("{data: {a: b}, binaryData: {c: YQ==}}")), ""},
		"map key":         {ConfigMap(cm("{data: {'a b': c}}")), "a valid config key must consist of"},
		"map key twice":   {ConfigMap(cm("{data: {a: b}, binaryData: {a: YQ==}}")), "duplicate of key present in binaryData"},
		"map too big":     {ConfigMap(cm("{data: {a: " + huge + "}}")), "Too long"},
		"map thawed":      {ConfigMapUpdate(cm("{}"), cm("{immutable: true}")), "immutable: Forbidden: field is immutable when `immutable` is set"},
		"map frozen":      {ConfigMapUpdate(cm("{immutable: true, data: {a: c}}"), cm("{immutable: true, data: {a: b}}")), "data: Forbidden"},
		"map freezes":     {ConfigMapUpdate(cm("{immutable: true, data: {a: c}}"), cm("{data: {a: b}}")), ""},
		"secret type":     {SecretUpdate(secret("{type: a}"), secret("{type: b}")), "type: Invalid value: \"a\": field is immutable"},
		"secret frozen":   {SecretUpdate(secret("{immutable: true, data: {a: YQ==}}"), secret("{immutable: true}")), "data: Forbidden"},
		"registry secret": {Secret(secret("{type: kubernetes.io/dockerconfigjson}")), "data[.dockerconfigjson]: Required value"},
		"account token":   {Secret(secret("{type: kubernetes.io/service-account-token}")), "metadata.annotations[kubernetes.io/service-account.name]: Required value"},
		"node taint":      {Node(node("{spec: {taints: [{key: a, effect: Never}]}}")), `Unsupported value: "Never"`},
		"node taint key":  {Node(node("{spec: {taints: [{key: 'a b', effect: NoSchedule}]}}")), "key: Invalid value"},
		"node taints":     {Node(node("{spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule}]}}")), "Duplicate value"},
		"node range":      {NodeUpdate(node("{spec: {podCIDRs: [10.0.1.0/24]}}"), node("{spec: {podCIDRs: [10.0.0.0/24]}}")), "node updates may not change podCIDR"},
		"event":           {Event(parse[corev1.Event](t, "{metadata: {namespace: a}, involvedObject: {namespace: b}}")), "does not match event.namespace"},
		"lease":           {Lease(parse[coordinationv1.Lease](t, "{spec: {leaseDurationSeconds: 0}}")), "must be greater than 0"},
		"namespace":       {Namespace(parse[corev1.Namespace](t, "{spec: {finalizers: ['a b']}}")), "spec.finalizers[0]: Invalid value"},
		"binding":         {Binding(parse[corev1.Binding](t, "{target: {kind: Pod, name: x}}")), `target.kind: Unsupported value: "Pod"`},
		"binding to what": {Binding(parse[corev1.Binding](t, "{target: {kind: Node}}")), "target.name: Required value"},
	} {
		says(t, name, tc.errs, tc.want)
	}
}
