package scheduler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/projections"
)

// judged is a node and what was thought of it.
type judged struct {
	name    string
	refused []string // why it does not fit; nothing if it does
	offer   offer
	score   int // 0 to 100, if it fits
}

func (j judged) fits() bool     { return len(j.refused) == 0 }
func (j judged) reason() string { return strings.Join(j.refused, ", ") }

// offer is what a node has, and what the pods on it take.
type offer struct {
	node  *corev1.Node
	ready bool
	has   projections.Amounts
	load  projections.Load
	alike int // pods of the same controller
}

func newOffer(w *projections.World, pod demand, o *projections.Object) offer {
	node, load := projections.As[*corev1.Node](o), w.Load(o.Key.Name)
	f := offer{node: node, ready: projections.NodeIsReady(o), has: projections.AmountsOf(node.Status.Allocatable), load: load}
	if pod.controller != "" {
		f.alike = load.Controllers[pod.controller]
	}
	return f
}

// judge asks the filters about a node, in an order in which the first refusal is
// the one worth telling.
func judge(w *projections.World, pod demand, node *projections.Object) judged {
	j := judged{name: node.Key.Name, offer: newOffer(w, pod, node)}
	for _, filter := range []func(demand, offer) []string{cordoned, unready, tainted, elsewhere, portTaken, full} {
		if j.refused = filter(pod, j.offer); len(j.refused) > 0 {
			break
		}
	}
	return j
}

// The filters, each with the words in which upstream's scheduler refuses a node.

func cordoned(pod demand, o offer) []string {
	mark := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if o.node.Spec.Unschedulable && !tolerates(pod.spec.Tolerations, mark) {
		return []string{"node(s) were unschedulable"}
	}
	return nil
}

func unready(pod demand, o offer) []string {
	mark := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	if !o.ready && !tolerates(pod.spec.Tolerations, mark) {
		return []string{fmt.Sprintf("node(s) had untolerated taint {%s: }", mark.Key)}
	}
	return nil
}

func tainted(pod demand, o offer) []string {
	for _, taint := range o.node.Spec.Taints {
		binding := taint.Effect == corev1.TaintEffectNoSchedule || taint.Effect == corev1.TaintEffectNoExecute
		if binding && !tolerates(pod.spec.Tolerations, taint) {
			return []string{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)}
		}
	}
	return nil
}

func tolerates(tolerations []corev1.Toleration, taint corev1.Taint) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			return false
		}
		switch t.Operator {
		case corev1.TolerationOpExists:
			return true
		case "", corev1.TolerationOpEqual:
			return t.Key != "" && t.Value == taint.Value
		default:
			return false
		}
	})
}

func elsewhere(pod demand, o offer) []string {
	// An error is a term that cannot be read; like upstream it matches nothing.
	if fits, err := pod.affinity.Match(o.node); err != nil || !fits {
		return []string{"node(s) didn't match Pod's node affinity/selector"}
	}
	return nil
}

func portTaken(pod demand, o offer) []string {
	if clash(pod.Ports, o.load.Ports) {
		return []string{"node(s) didn't have free ports for the requested pod ports"}
	}
	return nil
}

// full names everything the node has too little of.
func full(pod demand, o offer) []string {
	var short []string
	if limit, ok := o.has[corev1.ResourcePods]; ok && int64(o.load.Pods)+1 > limit {
		short = append(short, "Too many pods")
	}
	for _, name := range slices.Sorted(maps.Keys(pod.Requests)) {
		if n := pod.Requests[name]; n > 0 && n > o.has[name]-o.load.Requests[name] {
			short = append(short, "Insufficient "+string(name))
		}
	}
	return short
}

// explain is the answer for a pod that fits nowhere, as upstream words it.
func explain(all []judged) string {
	if len(all) == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, j := range all {
		for _, reason := range j.refused {
			counts[reason]++
		}
	}
	var parts []string
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", len(all), strings.Join(parts, ", "))
}
