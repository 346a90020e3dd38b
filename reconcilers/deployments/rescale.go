package deployments

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"periplus.dev/events"
)

// rescale follows a change of the deployment's size: the only set with pods gets
// all of it; in the middle of a rollout each set gets its share.
func (p *plan) rescale() []events.Proposal {
	if !p.value.Spec.Paused && !p.wasScaled() {
		return nil
	}
	active := p.active()
	switch {
	case len(active) == 1:
		return p.resizeIfSized(active[0])
	case len(active) == 0:
		return p.resizeLatest()
	case p.saturated():
		var facts []events.Proposal
		for _, s := range p.old {
			if s.size > 0 {
				facts = append(facts, p.resize(s, 0)...)
			}
		}
		return facts
	case p.recreates():
		return nil
	default:
		return p.share(active)
	}
}

// wasScaled reports whether a set with pods was sized for another size of the
// deployment.
func (p *plan) wasScaled() bool {
	return slices.ContainsFunc(p.active(), func(s *set) bool {
		n, ok := noted(s, desiredAnnotation)
		return ok && n != p.want
	})
}

func noted(s *set, annotation string) (n int, ok bool) {
	n, err := strconv.Atoi(s.value.Annotations[annotation])
	return n, err == nil
}

// resizeIfSized gives the only set with pods the whole size.
func (p *plan) resizeIfSized(s *set) []events.Proposal {
	if n, ok := noted(s, desiredAnnotation); s.size == p.want && (!ok || n == p.want) {
		return nil
	}
	return p.resize(s, p.want)
}

// resizeLatest gives the size of a deployment without pods to its current set or,
// if it has none because it is paused, to the latest.
func (p *plan) resizeLatest() []events.Proposal {
	all := p.staying()
	if len(all) == 0 || p.want == 0 {
		return nil
	}
	return p.resize(all[len(all)-1], p.want)
}

// saturated reports whether the current set has all pods and all are available.
func (p *plan) saturated() bool {
	if p.current == nil {
		return false
	}
	n, ok := noted(p.current, desiredAnnotation)
	return ok && n == p.want && p.current.size == p.want && int(p.current.value.Status.AvailableReplicas) == p.want
}

// share spreads what the deployment grew or shrank by over its sets, in
// proportion to their sizes; what rounding leaves goes to the largest.
func (p *plan) share(active []*set) []events.Proposal {
	most := 0
	if p.want > 0 {
		most = p.want + p.surge
	}
	more := min(most-sum(active, size), p.room())
	slices.SortStableFunc(active, func(a, b *set) int {
		byAge := a.value.CreationTimestamp.Compare(b.value.CreationTimestamp.Time)
		if more > 0 {
			byAge = -byAge // of two equals the newer grows, the older shrinks
		}
		return cmp.Or(cmp.Compare(b.size, a.size), byAge)
	})
	sizes, left := make([]int, len(active)), more
	for i, s := range active {
		d := 0
		if left != 0 {
			d = p.proportion(s, left)
		}
		sizes[i] = s.size + d
		left -= d
	}
	sizes[0] = max(sizes[0]+left, 0)
	var facts []events.Proposal
	for i, s := range active {
		facts = append(facts, p.resize(s, sizes[i])...)
	}
	return facts
}

// proportion is by how much a set grows with its deployment, or shrinks, within
// what is left to share.
func (p *plan) proportion(s *set, left int) int {
	d := -s.size
	if p.want > 0 {
		before, ok := noted(s, maximumAnnotation)
		if !ok || before <= 0 {
			before = max(int(p.value.Status.Replicas), 1)
		}
		d = int(math.Round(float64(s.size)*float64(p.want+p.surge)/float64(before))) - s.size
	}
	if left > 0 {
		return max(min(d, left), 0)
	}
	return min(max(d, left), 0)
}
