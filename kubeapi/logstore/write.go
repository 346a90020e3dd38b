package logstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Create implements storage.Interface. Time to live is not supported: an event
// that is recorded stays recorded.
func (s *Store) Create(ctx context.Context, key string, obj, out runtime.Object, _ uint64) error {
	k, err := s.key(key)
	if err != nil {
		return err
	}
	next := bare(obj)
	for {
		w, err := s.world(ctx, "")
		if err != nil {
			return err
		}
		if o, ok := w.Get(k); ok {
			return storage.NewKeyExistsError(key, signed(o.Seq))
		}
		done, err := s.commit(ctx, write{key: k, world: w, next: next}, out)
		if done || err != nil {
			return err
		}
	}
}

// GuaranteedUpdate implements storage.Interface. It decides anew when the object
// has moved on; tryUpdate refuses if the client insists on an older state.
func (s *Store) GuaranteedUpdate(ctx context.Context, key string, out runtime.Object, ignoreNotFound bool,
	pre *storage.Preconditions, tryUpdate storage.UpdateFunc, _ runtime.Object,
) error {
	k, err := s.key(key)
	if err != nil {
		return err
	}
	for {
		wr, rv, err := s.prior(ctx, k)
		if err != nil {
			return err
		}
		if wr.prior == nil && !ignoreNotFound {
			return storage.NewKeyNotFoundError(key, 0)
		}
		in := s.cfg.New()
		if wr.old != nil {
			in = wr.old.DeepCopyObject()
		}
		if err := pre.Check(key, in); err != nil {
			return err
		}
		next, _, err := tryUpdate(in, storage.ResponseMeta{ResourceVersion: rv})
		if err != nil {
			return err
		}
		done, err := s.update(ctx, wr, next, out)
		if done || err != nil {
			return err
		}
	}
}

// prior begins a write with the object as it is.
func (s *Store) prior(ctx context.Context, k events.Key) (write, uint64, error) {
	w, err := s.world(ctx, "")
	if err != nil {
		return write{}, 0, err
	}
	wr := write{key: k, world: w}
	o, ok := w.Get(k)
	if !ok {
		return wr, 0, nil
	}
	wr.prior = o
	wr.old, err = s.open(o)
	return wr, o.Seq, err
}

func (s *Store) update(ctx context.Context, wr write, next, out runtime.Object) (done bool, err error) {
	wr.next = bare(next)
	if wr.prior == nil {
		return s.commit(ctx, wr, out)
	}
	if err := s.UpdateObject(wr.next, wr.prior.Seq); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	if equality.Semantic.DeepEqual(wr.next, wr.old) {
		assign(out, wr.old)
		return true, nil
	}
	if wr.prior.Derived() {
		return false, s.derived(wr.key)
	}
	return s.commit(ctx, wr, out)
}

// Delete implements storage.Interface.
func (s *Store) Delete(ctx context.Context, key string, out runtime.Object, pre *storage.Preconditions,
	validate storage.ValidateObjectFunc, _ runtime.Object, _ storage.DeleteOptions,
) error {
	k, err := s.key(key)
	if err != nil {
		return err
	}
	for {
		wr, _, err := s.prior(ctx, k)
		switch {
		case err != nil:
			return err
		case wr.prior == nil:
			return storage.NewKeyNotFoundError(key, 0)
		case wr.prior.Derived():
			return s.derived(k)
		}
		if err := pre.Check(key, wr.old); err != nil {
			return err
		}
		if err := validate(ctx, wr.old.DeepCopyObject()); err != nil {
			return err
		}
		done, err := s.commit(ctx, wr, out)
		if done || err != nil {
			return err
		}
	}
}

// derived refuses to change what is a view of the log.
func (s *Store) derived(k events.Key) error {
	return apierrors.NewForbidden(s.cfg.Resource, k.Name, errors.New("it is part of the log's history, which nobody can change"))
}

// commit records a write and sets out to what became of it. done is false if
// the object has moved on, so that the caller has to decide anew; the World has
// folded by then what was in the way.
func (s *Store) commit(ctx context.Context, wr write, out runtime.Object) (done bool, err error) {
	p, err := s.proposal(ctx, wr)
	if err != nil {
		return false, err
	}
	seq, err := s.append(ctx, p)
	if errors.Is(err, events.ErrConflict) {
		var last events.Recorded
		if last, err = s.settle(ctx, p.Subject); err != nil {
			return false, err
		}
		next, ok := p.Behind(last, wr.world.Seq())
		if !ok {
			return false, nil
		}
		p = next
		if seq, err = s.append(ctx, p); errors.Is(err, events.ErrConflict) {
			_, err = s.settle(ctx, p.Subject)
			return false, err
		}
	}
	if err != nil {
		return false, s.refused(p, err)
	}
	w, err := s.cfg.World.Await(ctx, seq)
	if err != nil {
		return false, apierrors.NewTimeoutError(fmt.Sprintf("the change was recorded as event %d, but is not visible yet", seq), 1)
	}
	return true, s.result(w, wr, seq, out)
}

// append records one event and repeats it, the very same, as long as the outcome
// is unknown and the request lasts.
func (s *Store) append(ctx context.Context, p events.Proposal) (uint64, error) {
	unknown := false
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		seqs, err := s.cfg.Log.Append(ctx, p)
		switch {
		case err == nil && len(seqs) == 1:
			return seqs[0], nil
		case errors.Is(err, events.ErrConflict) && unknown:
			return s.recorded(ctx, p)
		case errors.Is(err, events.ErrTemporary) && unknown: // an earlier attempt may have been recorded
		case known(err):
			return 0, err
		default:
			unknown = true
		}
		select {
		case <-time.After(delay/2 + rand.N(delay)): //nolint:gosec // jitter
		case <-ctx.Done():
			return 0, fmt.Errorf("the outcome is unknown: %w", errors.Join(err, ctx.Err()))
		}
	}
}

// known reports whether an error of an append says that nothing was recorded.
func known(err error) bool {
	for _, outcome := range []error{events.ErrConflict, events.ErrInvalid, events.ErrTooLarge, events.ErrTemporary} {
		if errors.Is(err, outcome) {
			return true
		}
	}
	return false
}

// recorded looks for a proposal in the log after its repetition was refused: it
// may have been recorded the first time and others have followed.
func (s *Store) recorded(ctx context.Context, p events.Proposal) (uint64, error) {
	if _, err := s.settle(ctx, p.Subject); err != nil {
		return 0, err
	}
	if o, ok := s.cfg.World.Current().Get(p.Subject.Key); ok {
		for _, ref := range []events.Ref{o.Desired, o.Own} {
			if ref.ID == p.ID {
				return ref.Seq, nil
			}
		}
	}
	changes, _, err := s.cfg.World.Changes(s.table, p.After)
	if err != nil {
		return 0, fmt.Errorf("the outcome is unknown: %w", err)
	}
	for _, c := range changes {
		if o := c.Object; o.Key == p.Subject.Key && (o.Desired.ID == p.ID || o.Own.ID == p.ID) {
			return c.Seq, nil
		}
	}
	return 0, events.ErrConflict
}

// settle waits until the World has folded the last event of a subject, and
// returns that event.
func (s *Store) settle(ctx context.Context, subject events.Subject) (events.Recorded, error) {
	last, ok, err := s.cfg.Log.Last(ctx, subject)
	if err != nil {
		return last, unavailable(fmt.Errorf("read the last event of %s: %w", subject.Key, err))
	}
	if !ok {
		return last, nil
	}
	if _, err := s.cfg.World.Await(ctx, last.Seq); err != nil {
		return last, apierrors.NewTimeoutError(fmt.Sprintf("event %d is not visible yet", last.Seq), 1)
	}
	return last, nil
}

// refused is the Kubernetes error for an append that was not recorded, or of
// which it is not known.
func (s *Store) refused(p events.Proposal, err error) error {
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		return err
	case errors.Is(err, events.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, events.ErrInvalid):
		return apierrors.NewInternalError(err)
	case errors.Is(err, events.ErrTemporary):
		return unavailable(err)
	default:
		return apierrors.NewTimeoutError(fmt.Sprintf("record %s of %s: %v", p.Type.Short(), p.Subject.Key, err), 0)
	}
}

// result sets out to the state of the object that the event at seq made.
func (s *Store) result(w *projections.World, wr write, seq uint64, out runtime.Object) error {
	if wr.next == nil {
		assign(out, wr.old)
		return s.UpdateObject(out, seq)
	}
	o, ok := w.Get(wr.key)
	if !ok || o.Seq != seq {
		o = s.stateAt(wr.key, seq)
	}
	if o == nil { // others have changed it so often that it is not kept any more
		assign(out, wr.next)
		return s.UpdateObject(out, seq)
	}
	v, err := s.open(o)
	if err != nil {
		return err
	}
	assign(out, v)
	return nil
}

// stateAt is the object as the event at seq left it, nil if that is not kept.
func (s *Store) stateAt(k events.Key, seq uint64) *projections.Object {
	changes, _, err := s.cfg.World.Changes(s.table, seq-1)
	if err != nil {
		return nil
	}
	for _, c := range changes {
		if c.Seq == seq && c.Object.Key == k && c.Type != projections.Deleted {
			return c.Object
		}
	}
	return nil
}

// bare is an object without kind and apiVersion, which are the same for all of
// the kind and not part of its state.
func bare(obj runtime.Object) runtime.Object {
	out := obj.DeepCopyObject()
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out
}
