package defaults

import (
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

func decode[T any](t *testing.T, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		g, _ := yaml.Marshal(got)
		w, _ := yaml.Marshal(want)
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestPod(t *testing.T) {
	p := decode[corev1.Pod](t, `
spec:
  containers:
  - name: web
    image: nginx
    ports: [{containerPort: 80}]
    resources: {limits: {cpu: 100m}}
    readinessProbe: {httpGet: {port: 80}}
    env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
  volumes:
  - {name: tmp}
  - {name: cfg, configMap: {name: c}}
`)
	want := decode[corev1.Pod](t, `
spec:
  containers:
  - name: web
    image: nginx
    imagePullPolicy: Always
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
    ports: [{containerPort: 80, protocol: TCP}]
    resources: {limits: {cpu: 100m}, requests: {cpu: 100m}}
    readinessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
    env: [{name: POD, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: metadata.name}}}]
  volumes:
  - {name: tmp, emptyDir: {}}
  - {name: cfg, configMap: {name: c, defaultMode: 420}}
  dnsPolicy: ClusterFirst
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
  enableServiceLinks: true
`)
	Pod(p)
	same(t, p, want)
	Pod(p)
	same(t, p, want)
}

func TestAdmitPod(t *testing.T) {
	p := decode[corev1.Pod](t, `{spec: {tolerations: [{key: node.kubernetes.io/not-ready, effect: NoExecute, operator: Exists, tolerationSeconds: 5}]}}`)
	want := decode[corev1.Pod](t, `
spec:
  priority: 0
  preemptionPolicy: PreemptLowerPriority
  serviceAccountName: default
  serviceAccount: default
  tolerations:
  - {key: node.kubernetes.io/not-ready, effect: NoExecute, operator: Exists, tolerationSeconds: 5}
  - {key: node.kubernetes.io/unreachable, effect: NoExecute, operator: Exists, tolerationSeconds: 300}
`)
	for range 2 {
		AdmitPod(p)
		same(t, p, want)
	}
}

func TestPullPolicyFollowsTheTag(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"nginx":                              corev1.PullAlways,
		"nginx:latest":                       corev1.PullAlways,
		"nginx:1.27":                         corev1.PullIfNotPresent,
		"example.org:5000/nginx":             corev1.PullAlways,
		"nginx@sha256:" + make64('a'):        corev1.PullIfNotPresent,
		"nginx:latest@sha256:" + make64('a'): corev1.PullAlways,
		"NOT AN IMAGE":                       corev1.PullIfNotPresent,
	} {
		c := corev1.Container{Image: image}
		container(&c, false)
		if c.ImagePullPolicy != want {
			t.Errorf("%s: %s, want %s", image, c.ImagePullPolicy, want)
		}
	}
}

func make64(c byte) string {
	b := make([]byte, 64)
	for i := range b {
		b[i] = c
	}
	return string(b)
}

func TestDeployment(t *testing.T) {
	d := &appsv1.Deployment{}
	Deployment(d)
	s := d.Spec
	if *s.Replicas != 1 || s.Strategy.Type != "RollingUpdate" || s.Strategy.RollingUpdate.MaxSurge.String() != "25%" ||
		s.Strategy.RollingUpdate.MaxUnavailable.String() != "25%" || *s.RevisionHistoryLimit != 10 ||
		*s.ProgressDeadlineSeconds != 600 || s.Template.Spec.RestartPolicy != "Always" {
		t.Errorf("spec %+v", s)
	}
	d = &appsv1.Deployment{}
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	Deployment(d)
	if d.Spec.Strategy.RollingUpdate != nil {
		t.Error("Recreate got rolling update parameters")
	}
}

func TestQuantitiesAreRoundedUpToThousandths(t *testing.T) {
	list := corev1.ResourceList{"cpu": resource.MustParse("100u"), "memory": resource.MustParse("1Gi")}
	milli(list)
	cpu, memory := list["cpu"], list["memory"]
	if cpu.String() != "1m" || memory.String() != "1Gi" {
		t.Errorf("cpu %s, memory %s", cpu.String(), memory.String())
	}
}

func TestHostNetworkPorts(t *testing.T) {
	s := decode[corev1.PodSpec](t, `{hostNetwork: true, containers: [{name: a, ports: [{containerPort: 80}]}]}`)
	PodSpec(s)
	if s.Containers[0].Ports[0].HostPort != 80 {
		t.Errorf("host port %d", s.Containers[0].Ports[0].HostPort)
	}
}

func TestRegistered(t *testing.T) {
	s := runtime.NewScheme()
	Register(s)
	secret := &corev1.Secret{}
	s.Default(secret)
	ns := &corev1.Namespace{}
	ns.Name = "shop"
	s.Default(ns)
	if secret.Type != corev1.SecretTypeOpaque || ns.Labels[corev1.LabelMetadataName] != "shop" || ns.Status.Phase != corev1.NamespaceActive {
		t.Errorf("secret %v, namespace %v", secret, ns)
	}
}
