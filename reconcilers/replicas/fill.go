package replicas

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// fill requests n pods for the lowest free slots.
func (s set) fill(w *projections.World, n int, now time.Time) []events.Proposal {
	state := projections.StateOfSet(s.object)
	named := map[string]bool{}
	facts := make([]events.Proposal, 0, n)
	for i := range n {
		slot, serial := s.freeSlot(), state.Requested+i
		key := s.newKey(w, serial, named)
		cause := s.object.Desired.Newer(state.Vacated[slot])
		facts = append(facts, projections.Created(key, events.PodRequested, cause, s.pod(key.Name, slot, uidOf(w, s.object, serial), now)))
	}
	return facts
}

// newKey names the serial-th pod of the set with a name that no pod has.
func (s set) newKey(w *projections.World, serial int, named map[string]bool) events.Key {
	key := events.Key{Resource: projections.Pods, Namespace: s.object.Key.Namespace}
	for try := 0; ; try++ {
		of := fmt.Sprintf("%s/%d/%d", s.object.UID(), serial, try)
		key.Name = generated(s.object.Key.Name, projections.NameSuffix([]byte(of), suffixLength))
		if _, taken := w.Get(key); !taken && !named[key.Name] {
			named[key.Name] = true
			return key
		}
	}
}

// The lengths of generated names, as upstream has them.
const (
	suffixLength  = 5
	longestPrefix = 63 - suffixLength
)

func generated(set, suffix string) string {
	prefix := set + "-"
	return prefix[:min(len(prefix), longestPrefix)] + suffix
}

// uidOf is the uid of the serial-th pod of a set. Who decides on another World
// finds the same name, so that only one of them can record it, but another uid:
// if the name was free again, it is another pod.
func uidOf(w *projections.World, set *projections.Object, serial int) types.UID {
	return reconcilers.UIDOf(string(set.UID()), strconv.Itoa(serial), strconv.FormatUint(w.Seq(), 10))
}

// pod is a pod of the set, as the door would have made it from the template.
func (s set) pod(name string, slot int, uid types.UID, now time.Time) *corev1.Pod {
	template := s.value.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, GenerateName: s.object.Key.Name + "-", Namespace: s.object.Key.Namespace,
			UID:               uid,
			CreationTimestamp: reconcilers.Timestamp(now),
			Generation:        1,
			Labels:            maps.Clone(template.Labels),
			Annotations:       annotated(maps.Clone(template.Annotations), slot),
			Finalizers:        slices.Clone(template.Finalizers),
			OwnerReferences: []metav1.OwnerReference{
				reconcilers.ControlledBy(s.value, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")),
			},
		},
		Spec: template.Spec,
	}
	admit(&pod.Spec)
	return pod
}

// admit fills what a pod has and a template has not.
func admit(spec *corev1.PodSpec) {
	if spec.ServiceAccountName == "" {
		spec.ServiceAccountName = "default"
	}
	spec.DeprecatedServiceAccount = spec.ServiceAccountName
	fallback(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	fallback(&spec.Priority, 0)
	fallback(&spec.PreemptionPolicy, corev1.PreemptLowerPriority)
	fallback(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	if spec.SchedulerName == "" {
		spec.SchedulerName = corev1.DefaultSchedulerName
	}
	if spec.RestartPolicy == "" {
		spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	for i := range spec.InitContainers {
		requestLimits(&spec.InitContainers[i].Resources)
	}
	for i := range spec.Containers {
		requestLimits(&spec.Containers[i].Resources)
	}
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		if !tolerates(spec.Tolerations, key) {
			seconds := int64(tolerateSeconds)
			spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
			})
		}
	}
}

// tolerateSeconds is how long a pod stays on a node that is not ready, unless it
// says otherwise.
const tolerateSeconds = 300

func tolerates(tolerations []corev1.Toleration, key string) bool {
	return slices.ContainsFunc(tolerations, func(t corev1.Toleration) bool {
		return (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "")
	})
}

// requestLimits requests what is limited, where nothing is requested.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// fallback makes a pointer point at a value, unless it points at one.
func fallback[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}
