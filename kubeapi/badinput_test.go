package kubeapi

import (
	"errors"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

const (
	podHead    = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n"
	deployHead = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n"
	template   = "  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}\n"
)

// What is refused says so in Kubernetes' own form and words, and leaves nothing behind.
func TestBadObjects(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	core, apps := "/api/v1/namespaces/default/", "/apis/apps/v1/namespaces/default/"
	_, err := c.client.CoreV1().ConfigMaps("default").Create(t.Context(), oneMap("taken"), metav1.CreateOptions{})
	must(t, err)
	for _, tc := range []struct {
		name, path, body string
		code             int32
		message          string // part of it
	}{
		{"unknown field", core + "pods", podHead + "  bogus: 1\n  containers: [{name: c, image: i}]", 400, `strict decoding error: unknown field "spec.bogus"`},
		{"wrong type", core + "pods", podHead + "  containers: nonsense", 400, "cannot unmarshal string into Go struct field PodSpec.spec.containers"},
		{"bad name", core + "pods", "apiVersion: v1\nkind: Pod\nmetadata: {name: Bad_Name}\nspec: {containers: [{name: c, image: i}]}", 422, "a lowercase RFC 1123 subdomain must consist of"},
		{"no name", core + "pods", "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: i}]}", 422, "metadata.name: Required value: name or generateName is required"},
		{"bad label", core + "configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {a: 'b c'}}", 422, "a valid label must be an empty string or consist of alphanumeric characters"},
		{"bad selector", apps + "deployments", deployHead + "  selector: {matchExpressions: [{key: a, operator: Like}]}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}", 422, "not a valid selector operator"},
		{"no selector", apps + "deployments", deployHead + "  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}", 422, "spec.selector: Required value"},
		{"selector and template", apps + "deployments", deployHead + "  selector: {matchLabels: {a: c}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}", 422, "`selector` does not match template `labels`"},
		{"bad quantity", core + "pods", podHead + "  containers: [{name: c, image: i, resources: {limits: {cpu: lots}}}]", 400, "quantities must match the regular expression"},
		{"request over limit", core + "pods", podHead + "  containers: [{name: c, image: i, resources: {limits: {cpu: 1}, requests: {cpu: 2}}}]", 422, "must be less than or equal to cpu limit of 1"},
		{"negative quantity", core + "pods", podHead + "  containers: [{name: c, image: i, resources: {limits: {memory: -1}}}]", 422, "must be greater than or equal to 0"},
		{"unknown resource", core + "pods", podHead + "  containers: [{name: c, image: i, resources: {limits: {power: 1}}}]", 422, "must be a standard resource for containers"},
		{"bad port", core + "pods", podHead + "  containers: [{name: c, image: i, ports: [{containerPort: 99999}]}]", 422, "spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive"},
		{"no image", core + "pods", podHead + "  containers: [{name: c}]", 422, "spec.containers[0].image: Required value"},
		{"bad image", core + "pods", podHead + "  containers: [{name: c, image: ' nginx'}]", 422, "must not have leading or trailing whitespace"},
		{"no container", core + "pods", podHead + "  containers: []", 422, "spec.containers: Required value"},
		{"container twice", core + "pods", podHead + "  containers: [{name: c, image: i}, {name: c, image: i}]", 422, `spec.containers[1].name: Duplicate value: "c"`},
		{"restart policy", core + "pods", podHead + "  restartPolicy: Sometimes\n  containers: [{name: c, image: i}]", 422, `spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`},
		{"template restart policy", apps + "deployments", deployHead + strings.Replace(template, "spec: {", "spec: {restartPolicy: Never, ", 1), 422, `spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`},
		{"mount of nothing", core + "pods", podHead + "  containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]", 422, `spec.containers[0].volumeMounts[0].name: Not found: "v"`},
		{"two sources", core + "pods", podHead + "  volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}]\n  containers: [{name: c, image: i}]", 422, "may not specify more than 1 volume type"},
		{"bad environment", core + "pods", podHead + "  containers: [{name: c, image: i, env: [{name: 'a=b'}]}]", 422, "spec.containers[0].env[0].name: Invalid value"},
		{"probe without handler", core + "pods", podHead + "  containers: [{name: c, image: i, livenessProbe: {periodSeconds: 3}}]", 422, "must specify a handler type"},
		{"negative replicas", apps + "deployments", deployHead + "  replicas: -1\n" + template, 422, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"},
		{"no surge, no unavailable", apps + "deployments", deployHead + "  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}\n" + template, 422, "may not be 0 when `maxSurge` is 0"},
		{"recreate with parameters", apps + "deployments", deployHead + "  strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}\n" + template, 422, "may not be specified when strategy `type` is 'Recreate'"},
		{"bad key", core + "configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {'a b': c}", 422, "a valid config key must consist of alphanumeric characters"},
		{"TLS secret without key", core + "secrets", "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ntype: kubernetes.io/tls\ndata: {tls.crt: YQ==}", 422, "data[tls.key]: Required value"},
		{"existing name", core + "configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: taken}", 409, `configmaps "taken" already exists`},
		{"unknown resource path", core + "foos", "apiVersion: v1\nkind: Foo\nmetadata: {name: x}", 404, "the server could not find the requested resource"},
		{"unknown kind", core + "pods", "apiVersion: v1\nkind: Foo\nmetadata: {name: x}", 400, `no kind "Foo" is registered for version "v1"`},
		{"other kind", core + "pods", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", 400, `ConfigMap in version "v1" cannot be handled as a Pod`},
		{"other namespace", core + "configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: other}", 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"no such namespace", "/api/v1/namespaces/none/configmaps", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", 404, `namespaces "none" not found`},
		{"no such service account", core + "pods", podHead + "  serviceAccountName: ghost\n  containers: [{name: c, image: i}]", 403, `serviceaccount "ghost" not found`},
		{"bad namespace name", "/api/v1/namespaces", "apiVersion: v1\nkind: Namespace\nmetadata: {name: A}", 422, "a lowercase RFC 1123 label must consist of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before, err := c.log.Head(t.Context())
			must(t, err)
			body, err := yaml.YAMLToJSON([]byte(tc.body))
			must(t, err)
			err = c.client.RESTClient().Post().AbsPath(tc.path).Param("fieldValidation", "Strict").
				SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error()
			refused(t, err, tc.code, tc.message)
			if after, err := c.log.Head(t.Context()); err != nil || after != before {
				t.Errorf("something was recorded: head %d, was %d, error %v", after, before, err)
			}
		})
	}
}

func refused(t *testing.T, err error, code int32, message string) {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatalf("error %v", err)
	}
	if s := status.Status(); s.Code != code || !strings.Contains(s.Message, message) {
		t.Errorf("answer %d %s\nwant %d …%s…", s.Code, s.Message, code, message)
	}
}

func TestBadChanges(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	ctx := t.Context()
	_, err := c.client.AppsV1().Deployments("default").Create(ctx, oneDeployment("web"), metav1.CreateOptions{})
	must(t, err)
	_, err = c.client.CoreV1().Pods("default").Create(ctx, onePod("web"), metav1.CreateOptions{})
	must(t, err)
	frozen := oneMap("frozen")
	yes := true
	frozen.Immutable = &yes
	_, err = c.client.CoreV1().ConfigMaps("default").Create(ctx, frozen, metav1.CreateOptions{})
	must(t, err)
	for _, tc := range []struct {
		name, path, patch string
		code              int32
		message           string
	}{
		{"selector", "/apis/apps/v1/namespaces/default/deployments/web", `{"spec":{"selector":{"matchLabels":{"x":"y"}},"template":{"metadata":{"labels":{"x":"y"}}}}}`, 422, "spec.selector: Invalid value"},
		{"selector words", "/apis/apps/v1/namespaces/default/deployments/web", `{"spec":{"selector":{"matchLabels":{"x":"y"}},"template":{"metadata":{"labels":{"x":"y"}}}}}`, 422, "field is immutable"},
		{"pod spec", "/api/v1/namespaces/default/pods/web", `{"spec":{"restartPolicy":"Never"}}`, 422, "spec: Forbidden: pod updates may not change fields other than"},
		{"pod containers", "/api/v1/namespaces/default/pods/web", `{"spec":{"containers":[{"name":"d","image":"e"}]}}`, 422, "pod updates may not add or remove containers"},
		{"immutable map", "/api/v1/namespaces/default/configmaps/frozen", `{"data":{"k":"w"}}`, 422, "data: Forbidden: field is immutable when `immutable` is set"},
		{"name", "/api/v1/namespaces/default/configmaps/frozen", `{"metadata":{"name":"other"}}`, 400, "the name of the object (other) does not match the name on the URL (frozen)"},
		{"uid", "/api/v1/namespaces/default/configmaps/frozen", `{"metadata":{"uid":"other"}}`, 422, "metadata.uid: Invalid value: \"other\": field is immutable"},
		{"stale version", "/api/v1/namespaces/default/configmaps/frozen", `{"metadata":{"resourceVersion":"1","labels":{"a":"b"}}}`, 409, "the object has been modified; please apply your changes to the latest version and try again"},
		{"scale below zero", "/apis/apps/v1/namespaces/default/deployments/web/scale", `{"spec":{"replicas":-1}}`, 422, "must be greater than or equal to 0"},
		{"unknown field", "/api/v1/namespaces/default/pods/web", `{"spec":{"bogus":1}}`, 422, `unknown field "spec.bogus"`},
		{"not there", "/api/v1/namespaces/default/pods/none", `{"metadata":{"labels":{"a":"b"}}}`, 404, `pods "none" not found`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := c.client.RESTClient().Patch(types.StrategicMergePatchType).AbsPath(tc.path).Param("fieldValidation", "Strict").Body([]byte(tc.patch)).Do(ctx).Error()
			refused(t, err, tc.code, tc.message)
		})
	}
	stale, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, oneMap("m"), metav1.CreateOptions{})
	must(t, err)
	fresh := stale.DeepCopy()
	fresh.Data["k"] = "1"
	_, err = c.client.CoreV1().ConfigMaps("default").Update(ctx, fresh, metav1.UpdateOptions{})
	must(t, err)
	stale.Data["k"] = "2"
	if _, err = c.client.CoreV1().ConfigMaps("default").Update(ctx, stale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale update: %v", err)
	}
	apply := func(manager, value string, force bool) error {
		body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"k":"` + value + `"}}`
		_, err := c.client.CoreV1().ConfigMaps("default").Patch(ctx, "m", types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: manager, Force: &force})
		return err
	}
	must(t, apply("ann", "1", true))
	if err := apply("bob", "2", false); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflicts with "ann":`) {
		t.Errorf("apply what another manager owns: %v", err)
	}
	must(t, apply("bob", "2", true))
}
