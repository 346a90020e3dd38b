package tables

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	roleLabel = "node-role.kubernetes.io/"
	roleOld   = "kubernetes.io/role"
)

func node(n *corev1.Node, now time.Time) []any {
	i := n.Status.NodeInfo
	return []any{
		n.Name, nodeStatus(n), roles(n), since(n.CreationTimestamp, now), i.KubeletVersion,
		address(n, corev1.NodeInternalIP), address(n, corev1.NodeExternalIP),
		orUnknown(i.OSImage), orUnknown(i.KernelVersion), orUnknown(i.ContainerRuntimeVersion),
	}
}

func nodeStatus(n *corev1.Node) string {
	word := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		word = "NotReady"
		if c.Status == corev1.ConditionTrue {
			word = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		word += ",SchedulingDisabled"
	}
	return word
}

func roles(n *corev1.Node) string {
	var out []string
	for key, val := range n.Labels {
		if role, ok := strings.CutPrefix(key, roleLabel); ok && role != "" {
			out = append(out, role)
		} else if key == roleOld && val != "" {
			out = append(out, val)
		}
	}
	slices.Sort(out)
	return orNone(strings.Join(slices.Compact(out), ","))
}

func address(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return none
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}
