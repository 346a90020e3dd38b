package lifecycle

import "time"

// Delays between tries, as Kubernetes users know them.
const (
	firstDelay = 10 * time.Second
	maxDelay   = 5 * time.Minute
	soonDelay  = time.Second      // for what the runtime could not do just now
	calm       = 10 * time.Minute // a container that ran so long starts with a clean slate
	killDelay  = 10 * time.Second // after which a kill without effect is repeated
	goneGrace  = time.Second      // for the containers of a pod that is no more
)

// RestartDelay is how long after its exit a container is started again: at once
// the first time, then 10s, 20s, 40s… and never more than 5 minutes.
func RestartDelay(crashes int) time.Duration {
	if crashes <= 0 {
		return 0
	}
	return doubled(firstDelay, crashes)
}

// RetryDelay is how long after the n-th failure in a row (from 1) an image is
// pulled, or a container made, again: 10s, 20s, 40s… and never more than 5
// minutes.
func RetryDelay(failures int) time.Duration { return doubled(firstDelay, failures) }

// doubled is first for 1, twice that for 2, and so on up to maxDelay.
func doubled(first time.Duration, n int) time.Duration {
	d := first
	for ; n > 1 && d < maxDelay; n-- {
		d *= 2
	}
	return min(d, maxDelay)
}

// failed counts a failure and puts the next try off.
func (t *Try) failed(now time.Time, first time.Duration) {
	t.Failures++
	t.At = now.Add(doubled(first, t.Failures))
}
