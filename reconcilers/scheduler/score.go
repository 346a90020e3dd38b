package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// score gives each node that fits its score, half for the room it has left and
// half for how few pods of the same controller it holds, and returns the best,
// by name among equals; nil if none fits.
func score(pod demand, all []judged) *judged {
	crowd := 0
	for _, j := range all {
		if j.fits() {
			crowd = max(crowd, j.offer.alike)
		}
	}
	var best *judged
	for i := range all {
		j := &all[i]
		if !j.fits() {
			continue
		}
		j.score = (room(pod, j.offer) + alone(j.offer.alike, crowd)) / 2
		if best == nil || j.score > best.score || j.score == best.score && j.name < best.name {
			best = j
		}
	}
	return best
}

// room is the part of a node's CPU and memory, in percent, that is free once the
// pod stands there.
func room(pod demand, o offer) int {
	total := 0
	names := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
	for _, name := range names {
		if has := o.has[name]; has > 0 {
			free := float64(has) - float64(o.load.Weight[name]) - float64(pod.Weight[name])
			total += int(100 * max(free, 0) / float64(has))
		}
	}
	return total / len(names)
}

// alone is 100 for a node without pods of the same controller and 0 for the one
// with the most.
func alone(alike, crowd int) int {
	if crowd == 0 {
		return 100
	}
	return 100 * (crowd - alike) / crowd
}
