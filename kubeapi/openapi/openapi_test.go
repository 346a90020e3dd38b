package openapi

import (
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

func definitions(t *testing.T) map[string]common.OpenAPIDefinition {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	get := Definitions(s, corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion)
	return get(func(path string) spec.Ref { return spec.MustCreateRef("#/definitions/" + path) })
}

func TestWhatApplyHasToKnow(t *testing.T) {
	defs := definitions(t)
	podSpec := defs[corev1.PodSpec{}.OpenAPIModelName()].Schema
	containers := podSpec.Properties["containers"]
	if containers.Extensions["x-kubernetes-patch-merge-key"] != "name" || containers.Extensions["x-kubernetes-patch-strategy"] != "merge" {
		t.Errorf("containers: %v", containers.Extensions)
	}
	if keys, ok := containers.Extensions["x-kubernetes-list-map-keys"].([]any); !ok || len(keys) != 1 || keys[0] != "name" {
		t.Errorf("keys of containers: %v", containers.Extensions)
	}
	if !slices.Contains(podSpec.Required, "containers") || containers.Description == "" {
		t.Errorf("required %v, description %q", podSpec.Required, containers.Description)
	}
	ports := defs[corev1.Container{}.OpenAPIModelName()].Schema.Properties["ports"]
	if keys, ok := ports.Extensions["x-kubernetes-list-map-keys"].([]any); !ok || len(keys) != 2 {
		t.Errorf("keys of ports: %v", ports.Extensions)
	}
	if d := defs[appsv1.Deployment{}.OpenAPIModelName()].Schema; d.Description == "" || len(d.Properties["spec"].AllOf) != 1 {
		t.Errorf("deployment %+v", d)
	}
}

func TestEverythingThatIsReferredToIsDefined(t *testing.T) {
	defs := definitions(t)
	if len(defs) < 200 {
		t.Errorf("only %d definitions", len(defs))
	}
	for name, d := range defs {
		for _, dep := range d.Dependencies {
			if _, ok := defs[dep]; !ok {
				t.Errorf("%s refers to %s", name, dep)
			}
		}
	}
}
