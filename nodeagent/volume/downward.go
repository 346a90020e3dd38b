package volume

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field is the value of a pod's field as a fieldRef names it, such as
// "metadata.labels['app']" or "status.podIP". The error says which path is not
// known.
func Field(pod *corev1.Pod, path string) (string, error) {
	if prefix, key, ok := subscript(path); ok {
		switch prefix {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
		return "", fmt.Errorf("fieldPath %q is not supported", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return lines(pod.Labels), nil
	case "metadata.annotations":
		return lines(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	}
	return address(pod, path)
}

func address(pod *corev1.Pod, path string) (string, error) {
	var ips []string
	switch path {
	case "status.podIP":
		return pod.Status.PodIP, nil
	case "status.hostIP":
		return pod.Status.HostIP, nil
	case "status.podIPs":
		for _, ip := range pod.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
	case "status.hostIPs":
		for _, ip := range pod.Status.HostIPs {
			ips = append(ips, ip.IP)
		}
	default:
		return "", fmt.Errorf("fieldPath %q is not supported", path)
	}
	return strings.Join(ips, ","), nil
}

// subscript takes "metadata.labels['app']" apart.
func subscript(path string) (prefix, key string, ok bool) {
	prefix, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return prefix, key, ok
}

// lines writes a map as one line for each key, sorted, with quoted values.
func lines(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+strconv.Quote(m[k]))
	}
	return strings.Join(out, "\n")
}

// Quantity is the value that a resourceFieldRef names, in units of its divisor
// and rounded up. container is used if the reference names none; a limit that is
// not set is all that the node can give.
func Quantity(pod *corev1.Pod, container string, ref *corev1.ResourceFieldSelector, node corev1.ResourceList) (string, error) {
	if ref.ContainerName != "" {
		container = ref.ContainerName
	}
	var res *corev1.ResourceRequirements
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == container {
				res = &list[i].Resources
			}
		}
	}
	if res == nil {
		return "", fmt.Errorf("container %q not found", container)
	}
	side, name, _ := strings.Cut(ref.Resource, ".")
	var q resource.Quantity
	switch side {
	case "limits":
		var set bool
		if q, set = res.Limits[corev1.ResourceName(name)]; !set || q.IsZero() {
			q = node[corev1.ResourceName(name)]
		}
	case "requests":
		q = res.Requests[corev1.ResourceName(name)]
	default:
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	return divide(q, ref.Divisor, name == string(corev1.ResourceCPU)), nil
}

func divide(q, divisor resource.Quantity, milli bool) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	a, b := q.Value(), divisor.Value()
	if milli {
		a, b = q.MilliValue(), divisor.MilliValue()
	}
	if b <= 0 {
		b = 1
	}
	n := a / b
	if a%b > 0 {
		n++
	}
	return strconv.FormatInt(n, 10)
}
