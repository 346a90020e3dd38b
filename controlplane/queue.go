package controlplane

import (
	"time"

	"periplus.dev/events"
)

// queue holds whose turn it is, each object at most once, in the order of
// asking, and who wants to be asked at a later time.
type queue struct {
	order []events.Key
	in    map[events.Key]bool
	later map[events.Key]time.Time
	fails map[events.Key]backoff
}

func newQueue() queue {
	return queue{in: map[events.Key]bool{}, later: map[events.Key]time.Time{}, fails: map[events.Key]backoff{}}
}

func (q *queue) add(k events.Key) {
	if !q.in[k] {
		q.in[k] = true
		q.order = append(q.order, k)
	}
}

// addAt asks for a turn at a time; the earliest of several counts.
func (q *queue) addAt(k events.Key, at time.Time) {
	if before, ok := q.later[k]; !ok || at.Before(before) {
		q.later[k] = at
	}
}

// pop returns the next object whose turn it is.
func (q *queue) pop(now time.Time) (events.Key, bool) {
	if len(q.order) == 0 {
		for k, at := range q.later {
			if !at.After(now) {
				delete(q.later, k)
				q.add(k)
			}
		}
	}
	if len(q.order) == 0 {
		return events.Key{}, false
	}
	k := q.order[0]
	q.order = q.order[1:]
	delete(q.in, k)
	return k, true
}

// earliest is when the next one wants to be asked.
func (q *queue) earliest() (at time.Time, ok bool) {
	for _, t := range q.later {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// delay is how long an object has to wait after it failed once more.
func (q *queue) delay(k events.Key) time.Duration {
	b := q.fails[k]
	d := b.next()
	q.fails[k] = b
	return d
}

// calm forgets an object's failures.
func (q *queue) calm(k events.Key) { delete(q.fails, k) }
