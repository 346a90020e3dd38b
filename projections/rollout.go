package projections

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// rolloutFacts is what was observed of a Deployment through its ReplicaSets.
type rolloutFacts struct {
	replicas, updated, ready, available, wanted, terminating int
	isAvailable                                              bool
	availableAt                                              time.Time
	progress, newSet                                         string // reason of the Progressing condition; name of the current set
	progressAt, progressUpdatedAt                            time.Time
	reported                                                 *appsv1.DeploymentStatus
}

func (r rolloutFacts) equal(o rolloutFacts) bool { return r == o }

// rolloutOf counts what the sets of a deployment have.
func rolloutOf(d *Object, sets []*Object, prev rolloutFacts, now time.Time) rolloutFacts {
	dep, ok := d.half.decode(Deployments).(*appsv1.Deployment)
	if !ok {
		return prev
	}
	r := rolloutFacts{reported: prev.reported}
	current := currentSet(d, sets)
	for _, o := range sets {
		set := As[*appsv1.ReplicaSet](o)
		r.replicas += int(set.Status.Replicas)
		r.ready += int(set.Status.ReadyReplicas)
		r.available += int(set.Status.AvailableReplicas)
		r.wanted += int(replicasOf(set.Spec.Replicas))
		if set.Status.TerminatingReplicas != nil {
			r.terminating += int(*set.Status.TerminatingReplicas)
		}
		if o == current {
			r.updated, r.newSet = int(set.Status.Replicas), o.Key.Name
		}
	}
	want := int(replicasOf(dep.Spec.Replicas))
	_, unavailable := Bounds(dep)
	r.isAvailable = r.available >= want-unavailable
	r.availableAt = since(!prev.availableAt.IsZero() && prev.isAvailable == r.isAvailable, prev.availableAt, now)
	switch {
	case dep.Spec.Paused:
		r.progress = "DeploymentPaused"
	case r.updated == want && r.replicas == want && r.available == want && current != nil:
		r.progress = "NewReplicaSetAvailable"
	case current == nil:
		r.progress = "NewReplicaSetCreated"
	default:
		r.progress = "ReplicaSetUpdated"
	}
	r.progressAt = since(!prev.progressAt.IsZero() && (prev.progress == "DeploymentPaused") == dep.Spec.Paused, prev.progressAt, now)
	same := r
	same.progressUpdatedAt = prev.progressUpdatedAt
	r.progressUpdatedAt = since(same == prev, prev.progressUpdatedAt, now)
	return r
}

// apply writes the status of a Deployment.
func (r rolloutFacts) apply(_ *Object, v runtime.Object) {
	d, ok := v.(*appsv1.Deployment)
	if !ok {
		return
	}
	terminating := count32(r.terminating)
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: count32(r.replicas), UpdatedReplicas: count32(r.updated), ReadyReplicas: count32(r.ready),
		AvailableReplicas: count32(r.available), UnavailableReplicas: count32(max(r.wanted, int(replicasOf(d.Spec.Replicas))) - r.available), TerminatingReplicas: &terminating,
	}
	available := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse, LastUpdateTime: at(r.availableAt), LastTransitionTime: at(r.availableAt),
		Reason: "MinimumReplicasUnavailable", Message: "Deployment does not have minimum availability.",
	}
	if r.isAvailable {
		available.Status, available.Reason, available.Message = corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability."
	}
	progressing := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, LastUpdateTime: at(r.progressUpdatedAt), LastTransitionTime: at(r.progressAt), Reason: r.progress,
	}
	switch r.progress {
	case "DeploymentPaused":
		progressing.Status, progressing.Message = corev1.ConditionUnknown, "Deployment is paused"
	case "NewReplicaSetAvailable":
		progressing.Message = fmt.Sprintf("ReplicaSet %q has successfully progressed.", r.newSet)
	case "NewReplicaSetCreated":
		progressing.Message = "The new ReplicaSet is about to be created."
	default:
		progressing.Message = fmt.Sprintf("ReplicaSet %q is progressing.", r.newSet)
	}
	d.Status.Conditions = []appsv1.DeploymentCondition{available, progressing}
	if r.reported != nil {
		for _, c := range r.reported.Conditions {
			if c.Type != appsv1.DeploymentAvailable && c.Type != appsv1.DeploymentProgressing {
				d.Status.Conditions = append(d.Status.Conditions, c)
			}
		}
	}
}

// Bounds are the numbers of pods a rolling update may have beyond the wanted
// number (surge) and may lack of it (unavailable), with percentages resolved as
// upstream does: surge rounded up, unavailable down, never both zero.
func Bounds(d *appsv1.Deployment) (surge, unavailable int) {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, 0
	}
	ru := d.Spec.Strategy.RollingUpdate
	if ru == nil {
		ru = &appsv1.RollingUpdateDeployment{}
	}
	quarter := intstr.FromString("25%")
	want := int(replicasOf(d.Spec.Replicas))
	surge = scaled(ru.MaxSurge, quarter, want, true)
	unavailable = scaled(ru.MaxUnavailable, quarter, want, false)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, min(unavailable, want)
}

func scaled(v *intstr.IntOrString, or intstr.IntOrString, of int, up bool) int {
	n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, or), of, up)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

func replicasOf(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// ReplicaSetsOf returns the ReplicaSets that a Deployment controls, by age and
// name, and among them the one with the deployment's template, or nil.
func (w *World) ReplicaSetsOf(d *Object) (current *Object, all []*Object) {
	for o := range w.Dependents(d.UID()) {
		if ref := o.Controller(); o.Key.GroupResource() == ReplicaSets && ref != nil && ref.UID == d.UID() {
			all = append(all, o)
		}
	}
	slices.SortStableFunc(all, func(a, b *Object) int { return a.half.created().Compare(b.half.created()) })
	return currentSet(d, all), all
}

// currentSet is the oldest set with the deployment's template, or nil.
func currentSet(d *Object, sets []*Object) *Object {
	var found *Object
	for _, o := range sets {
		if TemplateHash(o) != TemplateHash(d) {
			continue
		}
		if found == nil || o.half.created().Before(found.half.created()) {
			found = o
		}
	}
	return found
}

// TemplateHash names the pod template of a Deployment or ReplicaSet, without
// its pod-template-hash label: equal templates have equal hashes. It is empty
// for any other kind. It is written with the letters and digits of generated
// Kubernetes names, at most 10.
func TemplateHash(o *Object) string {
	o.half.hashOnce.Do(func() {
		switch v := o.half.decode(o.Key.GroupResource()).(type) {
		case *appsv1.Deployment:
			o.half.hash = HashTemplate(v.Spec.Template)
		case *appsv1.ReplicaSet:
			o.half.hash = HashTemplate(v.Spec.Template)
		}
	})
	return o.half.hash
}

// HashTemplate is [TemplateHash] for a template itself.
func HashTemplate(t corev1.PodTemplateSpec) string {
	if _, has := t.Labels[appsv1.DefaultDeploymentUniqueLabelKey]; has {
		t = *t.DeepCopy()
		delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	}
	raw, err := json.Marshal(t)
	if err != nil {
		panic(fmt.Sprintf("encode pod template: %v", err))
	}
	return NameSuffix(raw, 10)
}

// nameLetters are the letters of generated Kubernetes names: no vowels, nothing
// that looks like something else.
const nameLetters = "bcdfghjklmnpqrstvwxz2456789"

// NameSuffix makes n letters for a generated name out of what the name stands
// for: the same input gives the same name. n is at most 12.
func NameSuffix(of []byte, n int) string {
	h := fnv.New64a()
	_, _ = h.Write(of)
	sum := h.Sum64()
	out := make([]byte, n)
	for i := range out {
		out[i] = nameLetters[sum%uint64(len(nameLetters))]
		sum /= uint64(len(nameLetters))
	}
	return string(out)
}
