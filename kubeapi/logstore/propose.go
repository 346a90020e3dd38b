package logstore

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/kubeapi/classify"
	"periplus.dev/projections"
)

// changeCause is the annotation in which kubectl users say why.
const changeCause = "kubernetes.io/change-cause"

// write is one attempt to change an object: what it was, what it becomes.
type write struct {
	key   events.Key
	world *projections.World
	prior *projections.Object // nil if there is none
	old   runtime.Object      // prior in the clear; nil if there is none
	next  runtime.Object      // in the clear; nil if the object is to be gone
}

// proposal is the event that records a write.
func (s *Store) proposal(ctx context.Context, wr write) (events.Proposal, error) {
	change := classify.Change{Kind: s.cfg.Kind, Subresource: subresourceOf(ctx), Old: wr.old, New: wr.next}
	if s.cfg.Kind == "deployment" && wr.old != nil && wr.next != nil {
		change.Revisions = revisions(wr.world, wr.prior)
	}
	p := events.Proposal{Event: events.Event{
		ID: s.cfg.NewID(), Type: change.Type(), Source: events.DoorSource, Subject: wr.key.Wanted(),
		Time: s.cfg.Now().UTC(), Actor: actorOf(ctx), Reason: reason(ctx, wr), Trace: notesOf(ctx).Trace,
	}}
	if p.Actor.Person() {
		p.Change = p.ID
	} else {
		cause := s.cause(wr)
		p.Cause, p.CauseAt, p.Change = cause.ID, cause.Seq, cause.Change
	}
	var err error
	if p.Type.Fact() == events.FactStatusReported {
		p.Subject, p.After = wr.key.Observed(""), wr.prior.Own.Seq
		p.Data, err = statusData(wr)
	} else {
		if wr.prior != nil {
			p.After = wr.prior.Desired.Seq
		}
		p.Data, err = s.stateData(wr)
	}
	if err != nil {
		return events.Proposal{}, apierrors.NewInternalError(fmt.Errorf("record %s: %w", wr.key, err))
	}
	return p, nil
}

// cause is what a request of the system's own components follows from: the last
// that happened to the object, or to its namespace, or the beginning of the log.
func (s *Store) cause(wr write) events.Ref {
	if wr.prior != nil {
		return wr.prior.Last()
	}
	if ns, ok := wr.world.Get(events.Key{Resource: projections.Namespaces, Name: wr.key.Namespace}); ok {
		return ns.Last()
	}
	return wr.world.Genesis()
}

// reason is why, as the request says or as a changed annotation says.
func reason(ctx context.Context, wr write) string {
	if r := notesOf(ctx).Reason; r != "" || wr.next == nil {
		return r
	}
	now := annotation(wr.next)
	if wr.old != nil && annotation(wr.old) == now {
		return ""
	}
	return now
}

func annotation(obj runtime.Object) string {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetAnnotations()[changeCause]
}

// stateData is the payload for the desired half. Changed paths are those of the
// plain values; only sealed values are recorded.
func (s *Store) stateData(wr write) (json.RawMessage, error) {
	state := events.State{}
	var before json.RawMessage
	var err error
	if wr.prior != nil {
		state.UID, state.Previous = string(uidOf(wr.old)), wr.prior.Desired.Seq
		if wr.next == nil {
			return json.Marshal(state)
		}
		if before, err = projections.DesiredJSON(s.table, wr.old); err != nil {
			return nil, err
		}
	}
	after, err := projections.DesiredJSON(s.table, wr.next)
	if err != nil {
		return nil, err
	}
	state.UID, state.Object = string(uidOf(wr.next)), after
	if wr.prior != nil {
		state.Changed = events.Paths(before, after)
	}
	if s.cfg.Seal != nil {
		sealed, err := s.cfg.Seal(wr.next)
		if err != nil {
			return nil, err
		}
		if state.Object, err = projections.DesiredJSON(s.table, sealed); err != nil {
			return nil, err
		}
	}
	return json.Marshal(state)
}

// statusData is the payload of a status that an outside controller reported.
func statusData(wr write) (json.RawMessage, error) {
	before, err := statusOf(wr.old)
	if err != nil {
		return nil, err
	}
	after, err := statusOf(wr.next)
	if err != nil {
		return nil, err
	}
	var status struct {
		Status any `json:"status"`
	}
	if err := json.Unmarshal(after, &status); err != nil {
		return nil, fmt.Errorf("decode status: %w", err)
	}
	return json.Marshal(events.StatusReported{UID: string(uidOf(wr.old)), Status: status.Status, Changed: events.Paths(before, after)})
}

// statusOf is an object's status as {"status": …}.
func statusOf(obj runtime.Object) (json.RawMessage, error) {
	all, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	var part struct {
		Status json.RawMessage `json:"status,omitempty"`
	}
	if err := json.Unmarshal(all, &part); err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return json.Marshal(part)
}

func uidOf(obj runtime.Object) types.UID {
	m, err := meta.Accessor(obj)
	if err != nil {
		return ""
	}
	return m.GetUID()
}

// revisions are the pod templates of a deployment's replica sets.
func revisions(w *projections.World, deployment *projections.Object) []corev1.PodTemplateSpec {
	var out []corev1.PodTemplateSpec
	for o := range w.List(projections.ReplicaSets, deployment.Key.Namespace) {
		owner := o.Controller()
		if owner == nil || owner.UID != deployment.UID() {
			continue
		}
		if rs, ok := o.Value().(*appsv1.ReplicaSet); ok {
			out = append(out, rs.Spec.Template)
		}
	}
	return out
}
