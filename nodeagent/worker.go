package nodeagent

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/runtime"
)

// worker sees to one pod. Others leave word in its inbox and wake it; all the
// rest belongs to its goroutine, which is there only while there is work.
type worker struct {
	agent *Agent
	uid   string

	mu      sync.Mutex // guards the inbox, view and what follows them
	inbox   inbox
	view    lifecycle.State // for those who ask; its Pod is nil before the worker knows its state
	awake   bool            // it has a goroutine, or will have one
	dropped bool            // it is of no use any more
	timer   *time.Timer

	nudge chan struct{}          // holds a token if the inbox is not empty
	acted chan lifecycle.Outcome // how the action in flight ended
	noted chan recorded          // how the recording in flight ended

	mind mind
}

// inbox is the newest of each kind of word that was not read yet.
type inbox struct {
	item    *events.FeedItem
	pod     *corev1.Pod // of item
	seq     uint64      // of the newest item ever
	desired events.Ref  // of that item
	epoch   int         // when the feed mentioned the pod last
	gone    bool        // the pod is no more
	inputs  bool        // a ConfigMap or Secret it uses is different
	sight   *sight
	missed  bool // the last sight was too old to be of use
	orphan  *runtime.PodState
	due     bool // its time has come
}

// mind is what the worker's goroutine knows.
type mind struct {
	open     bool // state and chain are known
	item     *events.FeedItem
	pod      *corev1.Pod
	gone     bool
	orphan   *runtime.PodState
	behind   time.Time // since when the feed is behind the log
	state    lifecycle.State
	chain    chain
	outbox   []entry
	acting   lifecycle.Kind
	busy     bool   // an action is in flight
	fresh    uint64 // sights up to this listing are older than the last action
	refresh  bool   // the volumes of a running pod are to be made anew
	cancel   context.CancelFunc
	noting   bool // a recording is in flight
	failures int  // of recordings, in a row
	retryAt  time.Time
	wakeAt   time.Time
}

func newWorker(a *Agent, uid string) *worker {
	return &worker{
		agent: a, uid: uid,
		nudge: make(chan struct{}, 1), acted: make(chan lifecycle.Outcome, 1), noted: make(chan recorded, 1),
	}
}

// leave lets a word be left in the inbox and wakes the worker if it asks for it.
// It returns false if nobody will read it: the worker was dropped.
func (w *worker) leave(word func(*inbox) (wake bool)) bool {
	w.mu.Lock()
	if w.dropped {
		w.mu.Unlock()
		return false
	}
	wake := word(&w.inbox)
	start := wake && !w.awake
	w.awake = w.awake || start
	w.mu.Unlock()
	switch {
	case start:
		w.agent.queue.put(w)
	case wake:
		ring(w.nudge)
	}
	return true
}

func (w *worker) wake() { w.leave(func(in *inbox) bool { in.due = true; return true }) }

// knows reports whether an item says nothing new: what is wanted has not
// changed, only what this agent has recorded itself.
func (w *worker) knows(item events.FeedItem, epoch int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.view.Pod == nil || item.Gone || w.dropped || item.Desired != w.inbox.desired {
		return false
	}
	w.inbox.epoch = epoch
	return true
}

// tell is word from the feed. It returns false if nobody will read it.
func (w *worker) tell(item events.FeedItem, pod *corev1.Pod, epoch int) bool {
	return w.leave(func(in *inbox) bool {
		in.epoch = epoch
		if item.Seq < in.seq {
			return false
		}
		in.seq = item.Seq
		if item.Gone {
			in.gone = true
		} else {
			in.item, in.pod, in.desired = &item, pod, item.Desired
		}
		return w.agent.ready()
	})
}

// expectMention is word that the feed has told all for the epoch-th time.
func (w *worker) expectMention(epoch int) {
	w.leave(func(in *inbox) bool {
		in.gone = in.gone || in.orphan == nil && in.epoch < epoch-1
		return in.gone
	})
}

func (w *worker) orphaned(p runtime.PodState) {
	w.leave(func(in *inbox) bool { in.orphan = &p; return true })
}

// show is word from the runtime.
func (w *worker) show(s sight, news bool) {
	w.leave(func(in *inbox) bool {
		wake := news || in.missed
		in.sight, in.missed = &s, false
		return wake && w.agent.ready()
	})
}

func (w *worker) inputChanged(kind, namespace, name string) {
	w.leave(func(in *inbox) bool {
		if w.view.Pod == nil || !uses(w.view.Pod, kind, namespace, name) {
			return false
		}
		in.inputs = true
		return true
	})
}

// read empties the inbox.
func (w *worker) read() inbox {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := w.inbox
	w.inbox = inbox{seq: in.seq, desired: in.desired, epoch: in.epoch, missed: in.missed}
	return in
}

// run works until there is nothing left to do.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.turn(ctx)
		if w.rest() {
			return
		}
		select {
		case <-ctx.Done():
		case <-w.nudge:
		case o := <-w.acted:
			w.finish(o)
		case r := <-w.noted:
			w.note(r)
		}
	}
}

// rest ends the worker's goroutine if nothing is in flight and the inbox is
// empty. It will be woken in time.
func (w *worker) rest() bool {
	m := &w.mind
	if m.busy || m.noting {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	in := &w.inbox
	if in.item != nil || in.gone || in.inputs || in.orphan != nil || in.due {
		ring(w.nudge)
		return false
	}
	if in.sight != nil && m.open {
		ring(w.nudge)
		return false
	}
	w.awake = false
	if w.timer != nil {
		w.timer.Stop()
	}
	if !m.wakeAt.IsZero() && !w.dropped {
		w.timer = time.AfterFunc(max(m.wakeAt.Sub(w.agent.cfg.Now()), 0), w.wake)
	}
	return true
}

// turn folds what has come and begins what is to be done.
func (w *worker) turn(ctx context.Context) {
	m, now := &w.mind, w.agent.cfg.Now()
	m.wakeAt = time.Time{}
	in := w.read()
	w.fold(in, now)
	if !m.open && !w.opened(ctx, now) {
		return
	}
	if in.sight != nil && m.open {
		w.see(*in.sight, now)
	}
	w.publish()
	w.beginNoting(ctx, now)
	w.beginActing(ctx, now)
	w.publish()
	w.beginNoting(ctx, now) // what has begun is a fact too
	if m.gone && m.state.Stopped && len(m.outbox) == 0 && !m.noting && !m.busy {
		w.drop()
	}
}

// fold takes over what the feed says.
func (w *worker) fold(in inbox, now time.Time) {
	m := &w.mind
	if in.item != nil {
		m.item, m.pod = in.item, in.pod
	}
	m.gone = m.gone || in.gone
	if in.orphan != nil {
		m.orphan = in.orphan
	}
	if !m.open {
		return
	}
	switch {
	case m.gone && !m.state.Stop.Wanted, in.gone:
		m.state = lifecycle.Forget(m.state, now)
	case in.item != nil:
		m.state = lifecycle.Want(m.state, m.pod, now)
	}
	if in.inputs {
		m.state = lifecycle.Inputs(m.state)
		m.refresh = len(m.state.Pod.Spec.Volumes) > 0
	}
}

// see folds a sight of the runtime, unless it is older than the last action.
func (w *worker) see(s sight, now time.Time) {
	m := &w.mind
	if s.number <= m.fresh {
		w.mu.Lock()
		w.inbox.missed = true
		w.mu.Unlock()
		ring(w.agent.look.wanted)
		return
	}
	w.apply(lifecycle.Seen(m.state, s.pod, now))
}

// apply takes over a state and puts the facts that led to it into the outbox.
func (w *worker) apply(s lifecycle.State, facts []lifecycle.Fact) {
	m := &w.mind
	m.state = s
	desired := events.Ref{}
	if m.item != nil {
		desired = m.item.Desired
	}
	for _, f := range facts {
		m.outbox = append(m.outbox, entry{fact: f, desired: desired})
	}
}

// publish lets others see the state.
func (w *worker) publish() {
	w.mu.Lock()
	w.view = w.mind.state
	w.mu.Unlock()
}

// beginNoting starts to record what is in the outbox.
func (w *worker) beginNoting(ctx context.Context, now time.Time) {
	m := &w.mind
	if m.noting || len(m.outbox) == 0 {
		return
	}
	if now.Before(m.retryAt) {
		m.wakeAt = earlier(m.wakeAt, m.retryAt)
		return
	}
	entries, c := m.outbox, m.chain
	m.outbox, m.noting = nil, true
	w.agent.workers.Go(func() { w.noted <- w.agent.record(ctx, c, entries) })
}

// note takes over how a recording ended.
func (w *worker) note(r recorded) {
	m := &w.mind
	m.noting, m.chain = false, r.chain
	m.outbox = append(r.rest, m.outbox...)
	if r.err == nil {
		m.failures, m.retryAt = 0, time.Time{}
		return
	}
	pause := min(minPause<<min(m.failures, 10), maxPause)
	m.failures++
	m.retryAt = w.agent.cfg.Now().Add(pause)
	w.agent.cfg.Logger.Warn("facts wait to be recorded", zap.Stringer("object", r.chain.subject.Key), zap.Int("facts", len(m.outbox)), zap.Error(r.err))
}

// drop lets the agent forget the pod, unless there is word of it again.
func (w *worker) drop() {
	w.mu.Lock()
	again := w.inbox.item != nil
	w.dropped = !again
	w.mu.Unlock()
	if again {
		return
	}
	w.agent.mu.Lock()
	delete(w.agent.pods, w.uid)
	w.agent.mu.Unlock()
}

// earlier is the earlier of two times, where zero stands for never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
