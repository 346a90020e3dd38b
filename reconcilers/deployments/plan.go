package deployments

import (
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"periplus.dev/events"
	"periplus.dev/projections"
	"periplus.dev/reconcilers"
)

// plan is a Deployment and its sets, counted.
type plan struct {
	world  *projections.World
	object *projections.Object
	value  *appsv1.Deployment
	now    time.Time

	want, surge, unavailable int

	current *set   // the set with the wanted template; nil if there is none
	going   bool   // the current set is being deleted; a new one has to wait for its name
	old     []*set // the others that stay, oldest first
	leaving []*set // sets that are being deleted: their pods count, but they can't be resized
}

// set is one ReplicaSet of the deployment.
type set struct {
	object *projections.Object
	value  *appsv1.ReplicaSet
	size   int // replicas it was told to have
}

// available is how many of its pods will serve once it has the size it was told.
func (s *set) available() int {
	if s == nil {
		return 0
	}
	return min(int(s.value.Status.AvailableReplicas), s.size)
}

// occupied is how many pods it has or will have, whichever is more.
func (s *set) occupied() int { return max(s.size, int(s.value.Status.Replicas)) }

func newPlan(w *projections.World, o *projections.Object, now time.Time) *plan {
	d := projections.As[*appsv1.Deployment](o)
	p := &plan{world: w, object: o, value: d, now: now, want: sizeOf(d.Spec.Replicas)}
	p.surge, p.unavailable = projections.Bounds(d)
	current, all := w.ReplicaSetsOf(o)
	for _, each := range all {
		v := projections.As[*appsv1.ReplicaSet](each)
		s := &set{object: each, value: v, size: sizeOf(v.Spec.Replicas)}
		switch {
		case each.Deleting():
			s.size = 0
			p.leaving = append(p.leaving, s)
			p.going = p.going || each == current
		case each == current:
			p.current = s
		default:
			p.old = append(p.old, s)
		}
	}
	return p
}

func sizeOf(n *int32) int {
	if n == nil {
		return 1
	}
	return max(int(*n), 0)
}

// staying lists the sets that can be resized, the current one last.
func (p *plan) staying() []*set {
	all := slices.Clone(p.old)
	if p.current != nil {
		all = append(all, p.current)
	}
	return all
}

// active lists the sets that were told to have pods, the current one last.
func (p *plan) active() []*set {
	return slices.DeleteFunc(p.staying(), func(s *set) bool { return s.size == 0 })
}

func sum(sets []*set, of func(*set) int) int {
	n := 0
	for _, s := range sets {
		n += of(s)
	}
	return n
}

func size(s *set) int { return s.size }

// cause is what led to whatever the deployment decides now.
func (p *plan) cause() events.Ref { return p.object.Desired }

func (p *plan) recreates() bool {
	return p.value.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType
}

// claim takes sets that belong to nobody and lets go of those that match no
// longer.
func (p *plan) claim() []events.Proposal {
	var facts []events.Proposal
	c := reconcilers.ClaimOf(p.world, p.object, projections.ReplicaSets, p.value.Spec.Selector)
	for _, o := range c.Adopt {
		v, _ := reconcilers.WithOwner(o, reconcilers.ControlledBy(p.value, appsv1.SchemeGroupVersion.WithKind("Deployment")))
		facts = append(facts, projections.Changed(o, events.ReplicaSetAdopted, p.cause().Newer(o.Desired), v))
	}
	for _, o := range c.Release {
		v, _ := reconcilers.WithoutOwners(o, p.object.UID())
		facts = append(facts, projections.Changed(o, events.ReplicaSetReleased, p.cause().Newer(o.Desired), v))
	}
	return facts
}

// resize tells a set its size, and the size of the deployment it was made for.
func (p *plan) resize(s *set, n int) []events.Proposal {
	n = min(max(n, 0), math.MaxInt32)
	next := s.value.DeepCopy()
	if !p.noteSizes(next) && n == s.size {
		return nil
	}
	t := events.ReplicaSetRevised
	if n != s.size {
		t = events.ReplicaSetStepped
		size := int32(n)
		next.Spec.Replicas = &size
		next.Generation++
	}
	return []events.Proposal{projections.Changed(s.object, t, p.cause(), next)}
}

// prune takes away the oldest sets beyond revisionHistoryLimit, once the rollout
// is complete or paused, if nothing is left of them.
func (p *plan) prune() []events.Proposal {
	limit := p.value.Spec.RevisionHistoryLimit
	if limit == nil || !p.value.Spec.Paused && !p.complete() {
		return nil
	}
	old := slices.Clone(p.old)
	slices.SortStableFunc(old, func(a, b *set) int { return revisionOf(a.object) - revisionOf(b.object) })
	excess := len(old) - max(int(*limit), 0)
	var facts []events.Proposal
	for _, s := range old[:max(excess, 0)] {
		terminating := s.value.Status.TerminatingReplicas
		empty := s.size == 0 && s.value.Status.Replicas == 0 && (terminating == nil || *terminating == 0)
		if empty && len(s.value.Finalizers) == 0 {
			facts = append(facts, projections.Removed(s.object, events.ReplicaSetPruned, p.cause()))
		}
	}
	return facts
}

// complete reports whether all pods that are wanted are there, of the current
// set, and no others.
func (p *plan) complete() bool {
	st := p.value.Status
	return int(st.UpdatedReplicas) == p.want && int(st.Replicas) == p.want && int(st.AvailableReplicas) == p.want
}
