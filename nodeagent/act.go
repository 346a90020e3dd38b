package nodeagent

import (
	"context"
	"time"

	"go.uber.org/zap"

	"periplus.dev/nodeagent/lifecycle"
	"periplus.dev/nodeagent/volume"
)

// beginActing starts the next action, if there is one and none is in flight.
func (w *worker) beginActing(ctx context.Context, now time.Time) {
	m := &w.mind
	if m.busy {
		w.reconsider()
		return
	}
	a, again := lifecycle.Next(m.state, now)
	m.wakeAt = earlier(m.wakeAt, again)
	switch {
	case a.Kind == lifecycle.Wait && m.refresh:
		m.refresh = false
	case a.Kind == lifecycle.Wait:
		return
	case removes(a.Kind) && (m.noting || len(m.outbox) > 0):
		return // what is removed cannot be asked any more: its story goes into the log first
	}
	w.apply(lifecycle.Begin(m.state, a, now))
	within, cancel := context.WithCancel(ctx)
	m.busy, m.acting, m.cancel = true, a.Kind, cancel
	state := m.state
	w.agent.workers.Go(func() { w.acted <- w.agent.perform(ctx, within, state, a) })
}

// removes reports whether an action takes away what the runtime knows.
func removes(k lifecycle.Kind) bool { return k == lifecycle.Remove || k == lifecycle.RemoveSandbox }

// reconsider breaks off an action whose result nobody waits for any more.
func (w *worker) reconsider() {
	m := &w.mind
	if !m.state.Stop.Wanted {
		return
	}
	switch m.acting {
	case lifecycle.Look, lifecycle.Pull, lifecycle.CreateSandbox, lifecycle.Start:
		m.cancel()
	default:
	}
}

// finish takes over how an action ended. What the runtime was seen to be before
// that is of no use any more.
func (w *worker) finish(o lifecycle.Outcome) {
	m := &w.mind
	m.busy = false
	m.cancel()
	m.fresh = w.agent.look.began.Load()
	if o.Err != nil {
		w.agent.cfg.Logger.Debug("action without success", zap.Stringer("action", o.Action.Kind), zap.String("uid", w.uid),
			zap.String("container", o.Action.Container), zap.Error(o.Err))
	}
	w.apply(lifecycle.Observe(m.state, o))
}

// perform does one action. within ends when its result is no longer wanted: that
// breaks off a pull, and anything that has not begun yet.
func (a *Agent) perform(ctx, within context.Context, s lifecycle.State, act lifecycle.Action) lifecycle.Outcome {
	o := lifecycle.Outcome{Action: act}
	if limit := a.limit(act.Kind); limit != nil {
		if o.Err = limit.take(within); o.Err != nil {
			o.At = a.cfg.Now()
			return o
		}
		defer limit.give()
	}
	began := a.cfg.Now()
	a.call(ctx, within, s, &o)
	o.At = a.cfg.Now()
	o.Took = o.At.Sub(began)
	return o
}

func (a *Agent) limit(k lifecycle.Kind) slots {
	switch k {
	case lifecycle.CreateSandbox, lifecycle.Start:
		return a.starts
	case lifecycle.Pull:
		return a.pulls
	case lifecycle.Remove, lifecycle.RemoveSandbox:
		return a.stops
	default:
		return nil
	}
}

func (a *Agent) call(ctx, within context.Context, s lifecycle.State, o *lifecycle.Outcome) {
	rt, act := a.cfg.Runtime, o.Action
	switch act.Kind {
	case lifecycle.Wait:
		a.refresh(s)
	case lifecycle.CreateSandbox:
		o.Sandbox, o.Err = rt.CreateSandbox(ctx, a.sandboxSpec(s.Pod))
	case lifecycle.Look:
		o.Image, o.Found, o.Err = rt.Image(within, act.Image)
	case lifecycle.Pull:
		o.Image, o.Err = rt.Pull(within, act.Image)
	case lifecycle.Start:
		o.Err = a.start(ctx, s, o)
	case lifecycle.Term:
		o.Err = rt.SignalContainer(ctx, act.ID, "")
	case lifecycle.Kill:
		o.Err = rt.SignalContainer(ctx, act.ID, "KILL")
	case lifecycle.Remove:
		o.Err = rt.RemoveContainer(ctx, act.ID)
	case lifecycle.RemoveSandbox:
		if o.Err = rt.RemoveSandbox(ctx, string(s.Pod.UID)); o.Err == nil {
			o.Err = a.cfg.Volumes.Remove(string(s.Pod.UID))
		}
	}
}

func (a *Agent) start(ctx context.Context, s lifecycle.State, o *lifecycle.Outcome) error {
	spec, err := a.containerSpec(s, o.Action)
	if err != nil {
		return err
	}
	o.Container, err = a.cfg.Runtime.StartContainer(ctx, spec)
	return err
}

// refresh makes the files of a running pod's volumes anew after a ConfigMap or
// Secret has changed. What is missing stays as it was, as Kubernetes does it.
func (a *Agent) refresh(s lifecycle.State) {
	pod := located(s)
	volumes, err := volume.Plan(pod, namespaced{agent: a, namespace: pod.Namespace}, a.allocatable())
	if err == nil {
		err = a.cfg.Volumes.Set(string(pod.UID), volumes, fsGroup(pod))
	}
	if err != nil {
		a.cfg.Logger.Warn("volumes cannot be brought up to date", zap.String("namespace", pod.Namespace), zap.String("name", pod.Name), zap.Error(err))
	}
}
