package containerd

import (
	"context"
	"fmt"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/typeurl/v2"
	"go.uber.org/zap"
)

// listen hears which containers run out of memory, and looks at everything anew
// whenever the connection to containerd was lost, until ctx ends.
func (r *Runtime) listen(ctx context.Context) {
	for lost := false; ctx.Err() == nil; lost = true {
		err := r.hear(ctx, lost)
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("connection to containerd lost", zap.Error(err))
		if !pause(ctx) {
			return
		}
	}
}

// hear subscribes, then looks at what may have been missed before, then listens
// until the connection is lost.
func (r *Runtime) hear(ctx context.Context, missed bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	envelopes, errs := r.client.Subscribe(ctx, `topic=="/tasks/oom"`)
	if missed {
		if err := r.resync(ctx); err != nil {
			return err
		}
		r.log.Info("connected to containerd again")
		r.bell.Ring("")
	}
	for {
		select {
		case e := <-envelopes:
			event, err := typeurl.UnmarshalAny(e.Event)
			if err != nil {
				return fmt.Errorf("read event %s: %w", e.Topic, err)
			}
			if oom, ok := event.(*eventsapi.TaskOOM); ok {
				r.noteOOM(oom.GetContainerID())
			}
		case err := <-errs:
			return fmt.Errorf("subscribe to events: %w", asTemporary(err))
		}
	}
}

// noteOOM keeps that a process of a container was killed for want of memory; if
// the container's own end is a kill, that is why.
func (r *Runtime) noteOOM(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[id] != nil {
		r.oomed[id] = true
	}
}
