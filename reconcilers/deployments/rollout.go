package deployments

import (
	"slices"

	"periplus.dev/events"
)

// rollOut takes the next step from the old sets to the current one.
func (p *plan) rollOut() []events.Proposal {
	switch {
	case p.value.Spec.Paused || p.going:
		return nil
	case p.recreates():
		return p.recreate()
	default:
		return p.roll()
	}
}

// recreate ends all old pods, waits until nothing of them is left, and only then
// makes new ones.
func (p *plan) recreate() []events.Proposal {
	var facts []events.Proposal
	for _, s := range p.old {
		if s.size > 0 {
			facts = append(facts, p.resize(s, 0)...)
		}
	}
	switch {
	case len(facts) > 0:
		return facts
	case p.oldPodsAreThere():
		return nil
	case p.current == nil:
		return p.start(p.want)
	case p.current.size != p.want:
		return p.resize(p.current, p.want)
	default:
		return nil
	}
}

// oldPodsAreThere reports whether a pod of another set than the current one may
// still run.
func (p *plan) oldPodsAreThere() bool {
	for _, s := range slices.Concat(p.old, p.leaving) {
		terminating := s.value.Status.TerminatingReplicas
		if s.value.Status.Replicas > 0 || terminating != nil && *terminating > 0 {
			return true
		}
	}
	return false
}

// roll makes new pods as far as the surge allows, and lets old ones go as far as
// enough are available without them.
func (p *plan) roll() []events.Proposal {
	if p.current == nil {
		return p.start(min(p.room(), p.want))
	}
	switch {
	case p.current.size > p.want:
		return p.resize(p.current, p.want)
	case p.current.size < p.want:
		if n := min(p.room(), p.want-p.current.size); n > 0 {
			return p.resize(p.current, p.current.size+n)
		}
	}
	return p.shrinkOld()
}

// room is how many more pods there may be.
func (p *plan) room() int {
	there := sum(p.staying(), (*set).occupied) + sum(p.leaving, (*set).occupied)
	return max(p.want+p.surge-there, 0)
}

// shrinkOld takes from the old sets first the pods that are of no use anyway,
// then as many as can be missed.
func (p *plan) shrinkOld() []events.Proposal {
	least := p.want - p.unavailable
	spare := sum(p.staying(), size) - least - (p.current.size - p.current.available())
	if spare <= 0 || sum(p.old, size) == 0 {
		return nil
	}
	sizes := map[*set]int{}
	for _, s := range p.old {
		useless := min(spare, s.size-s.available())
		sizes[s] = s.size - useless
		spare -= useless
	}
	missable := sum(p.staying(), (*set).available) - least
	for _, s := range p.old {
		gone := min(max(missable, 0), sizes[s])
		sizes[s] -= gone
		missable -= gone
	}
	var facts []events.Proposal
	for _, s := range p.old {
		if sizes[s] != s.size {
			facts = append(facts, p.resize(s, sizes[s])...)
		}
	}
	return facts
}
