package nodeagent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/nodeagent/runtime"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)", "EMPTY": ""}
	for _, tc := range []struct{ in, want string }{
		{"", ""}, {"plain", "plain"}, {"$(A)", "1"}, {"x$(A)y$(A)", "x1y1"}, {"$(EMPTY)|", "|"},
		{"$(B)", "$(A)"},       // what was expanded is not expanded again
		{"$(NO)", "$(NO)"},     // unknown: as it is
		{"$$(A)", "$(A)"},      // escaped
		{"$$$(A)", "$1"},       // escaped dollar, then a reference
		{"$A ${A}", "$A ${A}"}, // not ours
		{"$", "$"}, {"a$", "a$"}, {"$(", "$("}, {"$(A", "$(A"}, {"$()", "$()"},
	} {
		if got := expand(tc.in, func(n string) (string, bool) { v, ok := values[n]; return v, ok }); got != tc.want {
			t.Errorf("expand(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

// A text without a dollar sign stays as it is, and one in which all are doubled
// comes out as it was before.
func FuzzExpand(f *testing.F) {
	f.Add("a$b$(c)")
	f.Add("$$($")
	f.Fuzz(func(t *testing.T, s string) {
		known := func(string) (string, bool) { return "x", true }
		if got := expand(strings.ReplaceAll(s, "$", "$$"), known); got != s {
			t.Errorf("doubled %q comes out as %q", s, got)
		}
		unknown := func(string) (string, bool) { return "", false }
		if !strings.Contains(s, "$$") && expand(s, unknown) != s {
			t.Errorf("%q with nothing known becomes %q", s, expand(s, unknown))
		}
	})
}

type objects struct {
	configs map[string]map[string]string
	secrets map[string]map[string][]byte
}

func (m objects) ConfigMap(name string) (*corev1.ConfigMap, bool) {
	d, ok := m.configs[name]
	return &corev1.ConfigMap{Data: d}, ok
}

func (m objects) Secret(name string) (*corev1.Secret, bool) {
	d, ok := m.secrets[name]
	return &corev1.Secret{Data: d}, ok
}

var inputsForTest = objects{
	configs: map[string]map[string]string{"cfg": {"a": "1", "b": "2"}},
	secrets: map[string]map[string][]byte{"sec": {"p": []byte("pw")}},
}

func podForEnv() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u", Labels: map[string]string{"app": "x"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa"},
		Status: corev1.PodStatus{PodIP: "10.0.0.2", PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}}, HostIP: "10.0.0.1",
			HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}}},
	}
}

func field(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
}

func TestVariables(t *testing.T) {
	ref := corev1.LocalObjectReference{Name: "cfg"}
	yes := true
	c := &corev1.Container{
		Name: "main",
		Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m")},
			Requests: corev1.ResourceList{"memory": resource.MustParse("3Mi")},
		},
		EnvFrom: []corev1.EnvFromSource{
			{Prefix: "C_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &yes}},
		},
		Env: []corev1.EnvVar{
			{Name: "X", Value: "$(C_a)$(LATER)"},
			{Name: "LATER", Value: "l"},
			{Name: "C_b", Value: "over"},
			field("NAME", "metadata.name"), field("NS", "metadata.namespace"), field("UID", "metadata.uid"), field("L", "metadata.labels['app']"),
			field("NODE", "spec.nodeName"), field("SA", "spec.serviceAccountName"), field("IP", "status.podIP"), field("HOST", "status.hostIPs"),
			{Name: "K", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref, Key: "b"}}},
			{Name: "P", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}, Key: "p"}}},
			{Name: "NOT", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: ref, Key: "z", Optional: &yes}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.memory", Divisor: resource.MustParse("2Mi")}}},
			{Name: "ALL", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}},
		},
	}
	p := podForEnv()
	p.Spec.Containers = []corev1.Container{*c}
	e, err := variables(p, c, inputsForTest, corev1.ResourceList{"memory": resource.MustParse("1Gi")})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"C_a=1", "C_b=over", "X=1$(LATER)", "LATER=l", "NAME=web", "NS=ns", "UID=u", "L=x", "NODE=n1", "SA=sa", "IP=10.0.0.2", "HOST=10.0.0.1",
		"K=2", "P=pw", "CPU=2", "MEM=2", "ALL=1073741824",
	}
	if got := e.list(); !slices.Equal(got, want) {
		t.Errorf("variables\n%q, want\n%q", got, want)
	}
	if got := e.expandAll([]string{"$(LATER)", "$(NOT)"}); !slices.Equal(got, []string{"l", "$(NOT)"}) {
		t.Errorf("command %q", got)
	}
	if _, err := e.strictly("$(NAME)/$(NOT)"); err == nil {
		t.Error("a path with an unknown variable")
	}
}

func TestVariablesSayWhatIsMissing(t *testing.T) {
	configKey := func(name, key string) corev1.EnvVar {
		return corev1.EnvVar{Name: "V", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key,
		}}}
	}
	for _, tc := range []struct {
		env  corev1.EnvVar
		want string
	}{
		{configKey("none", "k"), `configmap "none" not found`},
		{configKey("cfg", "none"), `couldn't find key none in ConfigMap ns/cfg`},
		{field("V", "spec.nope"), `fieldPath "spec.nope" is not supported`},
	} {
		_, err := variables(podForEnv(), &corev1.Container{Env: []corev1.EnvVar{tc.env}}, inputsForTest, nil)
		var named *runtime.Error
		if !errors.As(err, &named) || named.Reason != runtime.ReasonConfig || named.Message != tc.want {
			t.Errorf("error %v, want %s", err, tc.want)
		}
	}
}

func TestSecurityOfTheContainerWins(t *testing.T) {
	one, two, group, no := int64(1), int64(2), int64(9), false
	p := podForEnv()
	p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &one, RunAsGroup: &one, FSGroup: &group, SupplementalGroups: []int64{5}}
	got := security(p, &corev1.Container{SecurityContext: &corev1.SecurityContext{
		RunAsUser: &two, AllowPrivilegeEscalation: &no, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}})
	if *got.RunAsUser != 2 || *got.RunAsGroup != 1 || !got.NoPrivilegeGain || !slices.Equal(got.SupplementalGroups, []int64{5, 9}) || !slices.Equal(got.DropCapabilities, []string{"ALL"}) {
		t.Errorf("%+v", got)
	}
}

func TestResolvConf(t *testing.T) {
	a := &Agent{cfg: Config{ClusterDNS: []string{"10.96.0.53"}, Domain: "cluster.local"}}
	p := podForEnv()
	if got, want := a.resolvConf(p), "nameserver 10.96.0.53\nsearch ns.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.Spec.DNSPolicy = corev1.DNSDefault
	if got := a.resolvConf(p); got != "" {
		t.Errorf("%q, want the node's own", got)
	}
	p.Spec.DNSPolicy, p.Spec.DNSConfig = corev1.DNSNone, &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"a.b"}}
	if got, want := a.resolvConf(p), "nameserver 1.1.1.1\nsearch a.b\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
