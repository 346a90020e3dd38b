package deployments

import (
	"maps"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// Annotations that kubectl reads, as upstream writes them.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	historyAnnotation  = "deployment.kubernetes.io/revision-history"
	desiredAnnotation  = "deployment.kubernetes.io/desired-replicas"
	maximumAnnotation  = "deployment.kubernetes.io/max-replicas"
	rollbackAnnotation = "deprecated.deployment.rollback.to"
)

// longestHistory is how long the list of a set's former revisions may be.
const longestHistory = 2000

// own reports whether an annotation speaks of one object alone, so that a set
// does not take it over from its deployment.
func own(annotation string) bool {
	switch annotation {
	case corev1.LastAppliedConfigAnnotation, revisionAnnotation, historyAnnotation, desiredAnnotation, maximumAnnotation, rollbackAnnotation:
		return true
	default:
		return false
	}
}

// revisionOf is the revision of a deployment or set, 0 if it has none.
func revisionOf(o *projections.Object) int {
	n, err := strconv.Atoi(o.Annotations()[revisionAnnotation])
	if err != nil {
		return 0
	}
	return n
}

// newRevision is what the revision of the current set has to be at least.
func (p *plan) newRevision() int {
	newest := 0
	for _, s := range p.old {
		newest = max(newest, revisionOf(s.object))
	}
	return newest + 1
}

// follow keeps the current set true to the deployment: it has the newest
// revision, the deployment's annotations and its minReadySeconds; and the
// deployment says which revision it is at.
func (p *plan) follow() []events.Proposal {
	if p.current == nil {
		return nil
	}
	next := p.current.value.DeepCopy()
	changed := p.annotate(next, p.newRevision())
	if next.Spec.MinReadySeconds != p.value.Spec.MinReadySeconds {
		next.Spec.MinReadySeconds = p.value.Spec.MinReadySeconds
		next.Generation++
		changed = true
	}
	var facts []events.Proposal
	if changed {
		facts = append(facts, projections.Changed(p.current.object, events.ReplicaSetRevised, p.cause(), next))
	}
	return append(facts, p.recordRevision(next.Annotations[revisionAnnotation])...)
}

// recordRevision writes the revision of the current set on the deployment.
func (p *plan) recordRevision(revision string) []events.Proposal {
	if p.value.Annotations[revisionAnnotation] == revision {
		return nil
	}
	next := p.value.DeepCopy()
	setAnnotation(&next.ObjectMeta, revisionAnnotation, revision)
	return []events.Proposal{projections.Changed(p.object, events.DeploymentRevisionRecorded, p.cause(), next)}
}

// annotate gives a set its deployment's annotations and at least a revision, and
// reports whether that changed anything.
func (p *plan) annotate(rs *appsv1.ReplicaSet, revision int) (changed bool) {
	for k, v := range p.value.Annotations {
		if !own(k) && setAnnotation(&rs.ObjectMeta, k, v) {
			changed = true
		}
	}
	before := rs.Annotations[revisionAnnotation]
	if n, err := strconv.Atoi(before); err == nil && n >= revision {
		return changed
	}
	setAnnotation(&rs.ObjectMeta, revisionAnnotation, strconv.Itoa(revision))
	if before != "" {
		setAnnotation(&rs.ObjectMeta, historyAnnotation, history(rs.Annotations[historyAnnotation], before))
	}
	return true
}

// history appends a revision to a list of former ones, dropping the oldest if
// the list gets too long.
func history(list, revision string) string {
	if list == "" {
		return revision
	}
	list += "," + revision
	for len(list) > longestHistory {
		_, rest, ok := strings.Cut(list, ",")
		if !ok {
			return revision
		}
		list = rest
	}
	return list
}

// noteSizes writes on a set the size of the deployment, and the most pods it may
// have; it reports whether that changed anything.
func (p *plan) noteSizes(rs *appsv1.ReplicaSet) (changed bool) {
	desired := setAnnotation(&rs.ObjectMeta, desiredAnnotation, strconv.Itoa(p.want))
	return setAnnotation(&rs.ObjectMeta, maximumAnnotation, strconv.Itoa(p.want+p.surge)) || desired
}

// setAnnotation sets an annotation and reports whether it was different.
func setAnnotation(m *metav1.ObjectMeta, key, value string) bool {
	if before, ok := m.Annotations[key]; ok && before == value {
		return false
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[key] = value
	return true
}

// start makes the set for a new revision, with n replicas.
func (p *plan) start(n int) []events.Proposal {
	key, hash := p.newKey()
	size := int32(n)
	template := *p.value.Spec.Template.DeepCopy()
	template.Labels = withHash(template.Labels, hash)
	selector := p.value.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	rs := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: key.Name, Namespace: key.Namespace, Labels: maps.Clone(template.Labels), Generation: 1,
			UID:               reconcilers.UIDOf(string(p.object.UID()), hash, strconv.FormatUint(p.world.Seq(), 10)),
			CreationTimestamp: reconcilers.Timestamp(p.now),
			OwnerReferences: []metav1.OwnerReference{
				reconcilers.ControlledBy(p.value, appsv1.SchemeGroupVersion.WithKind("Deployment")),
			},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &size, MinReadySeconds: p.value.Spec.MinReadySeconds, Selector: selector, Template: template},
	}
	p.annotate(rs, p.newRevision())
	p.noteSizes(rs)
	facts := []events.Proposal{projections.Created(key, events.ReplicaSetRolledOut, p.cause(), rs)}
	return append(facts, p.recordRevision(rs.Annotations[revisionAnnotation])...)
}

// newKey names the set for the wanted template. If somebody has the name that
// follows from the template, another hash is made of it.
func (p *plan) newKey() (key events.Key, hash string) {
	key = events.Key{Group: p.object.Key.Group, Resource: "replicasets", Namespace: p.object.Key.Namespace}
	hash = projections.TemplateHash(p.object)
	for try := 1; ; try++ {
		key.Name = p.object.Key.Name + "-" + hash
		if _, taken := p.world.Get(key); !taken {
			return key, hash
		}
		hash = projections.NameSuffix([]byte(projections.TemplateHash(p.object)+"/"+strconv.Itoa(try)), len(hash))
	}
}

func withHash(labels map[string]string, hash string) map[string]string {
	out := maps.Clone(labels)
	if out == nil {
		out = map[string]string{}
	}
	out[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return out
}
