package scheduler

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"periplus.dev/projections"
)

// demand is what a pod asks of a node.
type demand struct {
	projections.Usage

	spec       *corev1.PodSpec
	affinity   nodeaffinity.RequiredNodeAffinity
	controller types.UID // empty if it has none
}

func newDemand(o *projections.Object) demand {
	pod := projections.As[*corev1.Pod](o)
	return demand{Usage: projections.UsageOf(o), spec: &pod.Spec, affinity: nodeaffinity.GetRequiredNodeAffinity(pod), controller: controllerOf(o)}
}

func controllerOf(o *projections.Object) types.UID {
	if ref := o.Controller(); ref != nil {
		return ref.UID
	}
	return ""
}

const everyAddress = "0.0.0.0"

// clash reports whether some port of a and some port of b cannot both be taken.
func clash(a, b []projections.HostPort) bool {
	return slices.ContainsFunc(a, func(p projections.HostPort) bool {
		return slices.ContainsFunc(b, func(o projections.HostPort) bool {
			return p.Port == o.Port && p.Protocol == o.Protocol && (p.IP == o.IP || p.IP == everyAddress || o.IP == everyAddress)
		})
	})
}
