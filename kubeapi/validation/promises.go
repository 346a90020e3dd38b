package validation

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warnings says which fields of an object are recorded but have no effect on a
// node of this release, so that nobody relies on them: kubectl prints them.
func Warnings(obj runtime.Object) []string {
	switch o := obj.(type) {
	case *corev1.Pod:
		return podWarnings(&o.Spec, field.NewPath("spec"))
	case *appsv1.ReplicaSet:
		return podWarnings(&o.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	case *appsv1.Deployment:
		return podWarnings(&o.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
	default:
		return nil
	}
}

func podWarnings(spec *corev1.PodSpec, p *field.Path) []string {
	var out []string
	warn := func(p *field.Path, set bool, effect string) {
		if set {
			out = append(out, fmt.Sprintf("%s: recorded, but %s", p, effect))
		}
	}
	warn(p.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds != nil, "the pod may run for longer in this release")
	warn(p.Child("shareProcessNamespace"), spec.ShareProcessNamespace != nil && *spec.ShareProcessNamespace, "each container has its own process namespace in this release")
	warn(p.Child("imagePullSecrets"), len(spec.ImagePullSecrets) > 0, "images are pulled anonymously in this release")
	for i := range spec.InitContainers {
		containerWarnings(&spec.InitContainers[i], p.Child("initContainers").Index(i), warn)
	}
	for i := range spec.Containers {
		containerWarnings(&spec.Containers[i], p.Child("containers").Index(i), warn)
	}
	for i := range spec.Volumes {
		warn(p.Child("volumes").Index(i), !mountable(&spec.Volumes[i].VolumeSource),
			"nodes of this release refuse a pod with such a volume: they mount emptyDir, hostPath, configMap, secret, downwardAPI and projected ones")
	}
	return out
}

func containerWarnings(c *corev1.Container, p *field.Path, warn func(p *field.Path, set bool, effect string)) {
	warn(p.Child("livenessProbe"), c.LivenessProbe != nil, "probes are not run in this release: the container is restarted only when it exits")
	warn(p.Child("readinessProbe"), c.ReadinessProbe != nil, "probes are not run in this release: the container counts as ready while it runs")
	warn(p.Child("startupProbe"), c.StartupProbe != nil, "probes are not run in this release")
	warn(p.Child("lifecycle"), c.Lifecycle != nil, "hooks are not run in this release")
	for i, port := range c.Ports {
		warn(p.Child("ports").Index(i).Child("hostPort"), port.HostPort != 0, "nodes of this release refuse a pod with a host port")
	}
}

// mountable reports whether a node mounts a volume.
func mountable(v *corev1.VolumeSource) bool {
	return v.EmptyDir != nil || v.HostPath != nil || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
}
