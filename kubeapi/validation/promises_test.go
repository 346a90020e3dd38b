package validation_test

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"periplus.dev/kubeapi/validation"
)

func TestWarningsNameWhatHasNoEffect(t *testing.T) {
	yes, seconds := true, int64(5)
	plain := corev1.PodSpec{
		Containers: []corev1.Container{{Name: "a", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}},
		Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	}
	tests := []struct {
		name   string
		change func(*corev1.PodSpec)
		want   string // the field that is warned of; empty for none
	}{
		{"a plain pod", func(*corev1.PodSpec) {}, ""},
		{"liveness", func(s *corev1.PodSpec) { s.Containers[0].LivenessProbe = &corev1.Probe{} }, "spec.containers[0].livenessProbe"},
		{"readiness", func(s *corev1.PodSpec) { s.Containers[0].ReadinessProbe = &corev1.Probe{} }, "spec.containers[0].readinessProbe"},
		{"startup", func(s *corev1.PodSpec) { s.Containers[0].StartupProbe = &corev1.Probe{} }, "spec.containers[0].startupProbe"},
		{"hooks", func(s *corev1.PodSpec) { s.Containers[0].Lifecycle = &corev1.Lifecycle{} }, "spec.containers[0].lifecycle"},
		{"host port", func(s *corev1.PodSpec) { s.Containers[0].Ports[0].HostPort = 80 }, "spec.containers[0].ports[0].hostPort"},
		{"deadline", func(s *corev1.PodSpec) { s.ActiveDeadlineSeconds = &seconds }, "spec.activeDeadlineSeconds"},
		{"shared processes", func(s *corev1.PodSpec) { s.ShareProcessNamespace = &yes }, "spec.shareProcessNamespace"},
		{"pull secrets", func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}} }, "spec.imagePullSecrets"},
		{"foreign volume", func(s *corev1.PodSpec) {
			s.Volumes[0].VolumeSource = corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{}}
		}, "spec.volumes[0]"},
		{"hooks of an init container", func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Lifecycle: &corev1.Lifecycle{}}}
		}, "spec.initContainers[0].lifecycle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := *plain.DeepCopy()
			tt.change(&spec)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			if got := fields(validation.Warnings(&corev1.Pod{Spec: spec})); !slices.Equal(got, want) {
				t.Errorf("pod: warned of %v, want %v", got, want)
			}
			for i := range want {
				want[i] = strings.Replace(want[i], "spec.", "spec.template.spec.", 1)
			}
			deployment := &appsv1.Deployment{}
			deployment.Spec.Template.Spec = spec
			if got := fields(validation.Warnings(deployment)); !slices.Equal(got, want) {
				t.Errorf("deployment: warned of %v, want %v", got, want)
			}
		})
	}
	if got := validation.Warnings(&corev1.ConfigMap{}); got != nil {
		t.Errorf("config map: %v", got)
	}
}

func fields(warnings []string) []string {
	var out []string
	for _, w := range warnings {
		path, _, _ := strings.Cut(w, ": ")
		out = append(out, path)
	}
	return out
}
