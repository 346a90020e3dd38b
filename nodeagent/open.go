package nodeagent

import (
	"context"
	"encoding/json"
	"time"

	"go.uber.org/zap"

	"periplus.dev/events"
	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/volume"
)

// opened finds out what is known of the pod, and reports whether it is.
func (w *worker) opened(ctx context.Context, now time.Time) bool {
	m, a := &w.mind, w.agent
	picture := a.look.picture()
	switch {
	case picture.number == 0:
		return false // the first listing will wake it
	case m.item == nil && m.orphan == nil:
		if m.gone {
			w.drop()
		}
		return false
	}
	there := picture.of(w.uid)
	pod := m.pod
	if m.item == nil {
		pod = lifecycle.Orphan(*m.orphan, now).Pod
	}
	key := events.Key{Resource: "pods", Namespace: pod.Namespace, Name: pod.Name}
	m.chain = chain{subject: key.Observed(a.cfg.Node)}
	var last events.Recorded
	if m.item == nil || m.item.Observed.Seq > 0 || there.pod != nil || pod.DeletionTimestamp != nil {
		var err error
		if last, err = w.lastRecorded(ctx); err != nil {
			a.cfg.Logger.Warn("log cannot be read", zap.String("uid", w.uid), zap.Error(err))
			m.wakeAt = now.Add(time.Second)
			return false
		}
	}
	if w.feedIsBehind(last, now) {
		return false
	}
	w.resume(last, there, now)
	return true
}

// lastRecorded is the last fact that this node recorded of the pod: of this pod,
// not of an earlier one of the same name.
func (w *worker) lastRecorded(ctx context.Context) (events.Recorded, error) {
	last, ok, err := w.agent.cfg.Log.Last(ctx, w.mind.chain.subject)
	if err != nil || !ok {
		return events.Recorded{}, err
	}
	w.mind.chain.after = last.Seq
	var of struct {
		UID string `json:"uid"`
	}
	if json.Unmarshal(last.Data, &of) != nil || of.UID != w.uid {
		return events.Recorded{}, nil //nolint:nilerr // of another pod
	}
	return last, nil
}

// feedPatience is how long a worker waits for the feed to show what the log
// already has. It would say again what it does not know was said.
const feedPatience = 10 * time.Second

func (w *worker) feedIsBehind(last events.Recorded, now time.Time) bool {
	m := &w.mind
	if m.item == nil || last.Seq <= m.item.Observed.Seq {
		return false
	}
	if m.behind.IsZero() {
		m.behind = now
	}
	m.wakeAt = m.behind.Add(feedPatience)
	return now.Before(m.wakeAt)
}

// resume makes the state of the pod from what the log and the runtime know.
func (w *worker) resume(last events.Recorded, there sight, now time.Time) {
	m, a := &w.mind, w.agent
	m.open, m.wakeAt = true, time.Time{}
	m.chain.found = last.Ref()
	if m.item == nil {
		m.state = lifecycle.Orphan(*m.orphan, now)
	} else {
		if m.chain.found.Seq == 0 {
			m.chain.found = m.item.Observed
		}
		m.chain.after = max(m.chain.after, m.item.Observed.Seq)
		m.state = lifecycle.Resume(m.pod, last, now)
	}
	m.state.HostIPs = a.info.Addresses
	if last.Type == events.PodStopping {
		m.chain.stopping = last.Ref()
	}
	if m.gone {
		m.state = lifecycle.Forget(m.state, now)
	}
	if err := volume.Check(m.state.Pod); err != nil {
		w.apply(lifecycle.Reject(m.state, "UnsupportedVolume", err.Error(), now))
	}
	if !m.state.Stopped {
		w.see(there, now)
	}
}
