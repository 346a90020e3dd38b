package logstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// GetList implements storage.Interface. Pages of one list show the state at the
// resourceVersion of the first page.
func (s *Store) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	where, err := s.scope(key, opts.Recursive)
	if err != nil {
		return err
	}
	items, err := itemsOf(list)
	if err != nil {
		return err
	}
	prefix := key
	if opts.Recursive && prefix[len(prefix)-1] != '/' {
		prefix += "/"
	}
	exact, from, err := storage.ValidateListOptions(prefix, s, opts)
	if err != nil {
		return err
	}
	p := page{where: where, limit: int(opts.Predicate.Limit)}
	if from != "" {
		if p.from, err = s.key(from); err != nil {
			return apierrors.NewBadRequest("invalid continue token")
		}
	}
	w, at, err := s.snapshot(ctx, opts.ResourceVersion, exact)
	if err != nil {
		return err
	}
	if err := s.fill(&p, at.objects(w, s.table, where), opts.Predicate, items); err != nil {
		return err
	}
	token, remaining, err := storage.PrepareContinueToken(s.keyString(p.last), prefix, signed(at.seq), int64(p.total), p.more, opts)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := s.UpdateList(list, at.seq, token, remaining); err != nil {
		return unavailable(fmt.Errorf("list %s: the log is empty: %w", s.table, err))
	}
	return nil
}

// itemsOf is the slice of a list's items, empty but not nil.
func itemsOf(list runtime.Object) (reflect.Value, error) {
	ptr, err := meta.GetItemsPtr(list)
	if err != nil {
		return reflect.Value{}, apierrors.NewInternalError(err)
	}
	v, err := conversion.EnforcePtr(ptr)
	if err != nil || v.Kind() != reflect.Slice {
		return reflect.Value{}, apierrors.NewInternalError(fmt.Errorf("items of %T are no slice: %w", list, err))
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return v, nil
}

// page is one page of a list: where it starts, and what came of it.
type page struct {
	where scope
	from  events.Key // first key of the page; zero for the first page
	limit int        // 0 for no limit

	last  events.Key // last key looked at
	total int        // objects from the start of the page on
	more  bool       // there are objects after last
}

// fill appends the objects of the page that match.
func (s *Store) fill(p *page, objects iter.Seq[*projections.Object], match storage.SelectionPredicate, items reflect.Value) error {
	for o := range objects {
		if p.from.Name != "" && projections.CompareKeys(o.Key, p.from) < 0 {
			continue
		}
		p.total++
		if p.limit > 0 && items.Len() == p.limit {
			p.more = true
			continue
		}
		p.last = o.Key
		ok, err := match.Matches(o.Value())
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		if !ok {
			continue
		}
		v, err := s.open(o)
		if err != nil {
			return err
		}
		items.Set(reflect.Append(items, reflect.ValueOf(v).Elem()))
	}
	return nil
}

func (s *Store) keyString(k events.Key) string {
	if k.Namespace == "" {
		return s.cfg.Prefix + "/" + k.Name
	}
	return s.cfg.Prefix + "/" + k.Namespace + "/" + k.Name
}

// past is the state of a table at a sequence, as a difference to a World.
type past struct {
	seq   uint64
	other map[events.Key]*projections.Object // objects that were different then; nil if there was none
}

// snapshot is the state a list is to show: the newest, or that at the sequence
// exact if it is not 0.
func (s *Store) snapshot(ctx context.Context, resourceVersion string, exact int64) (*projections.World, past, error) {
	if exact <= 0 {
		w, err := s.world(ctx, resourceVersion)
		if err != nil {
			return nil, past{}, err
		}
		return w, past{seq: w.Seq()}, nil
	}
	seq := uint64(exact)
	w, err := s.world(ctx, fmt.Sprint(seq))
	if err != nil {
		return nil, past{}, err
	}
	changes, _, err := s.cfg.World.Changes(s.table, seq)
	switch {
	case errors.Is(err, projections.ErrExpired):
		return nil, past{}, expired("The provided continue parameter or resource version is too old to display a consistent list result. " +
			"You can start a new list without it.")
	case err != nil:
		return nil, past{}, apierrors.NewInternalError(err)
	}
	return w, rewind(w, seq, changes), nil
}

// rewind takes back what happened after seq: of each object, the first change
// tells what it was before.
func rewind(w *projections.World, seq uint64, changes []projections.Change) past {
	p := past{seq: seq, other: map[events.Key]*projections.Object{}}
	for _, c := range changes {
		if c.Seq > w.Seq() {
			break
		}
		if _, seen := p.other[c.Object.Key]; !seen {
			p.other[c.Object.Key] = c.Prev
		}
	}
	return p
}

// objects yields the objects of a table in the order of namespace and name.
func (p past) objects(w *projections.World, table string, where scope) iter.Seq[*projections.Object] {
	if len(p.other) > 0 {
		return p.merged(w, table, where)
	}
	return func(yield func(*projections.Object) bool) {
		if where.single != nil {
			if o, ok := w.Get(*where.single); ok {
				yield(o)
			}
			return
		}
		for o := range w.List(table, where.namespace) {
			if !yield(o) {
				return
			}
		}
	}
}

func (p past) merged(w *projections.World, table string, where scope) iter.Seq[*projections.Object] {
	all := map[events.Key]*projections.Object{}
	for o := range w.List(table, where.namespace) {
		all[o.Key] = o
	}
	maps.Copy(all, p.other)
	keys := slices.SortedFunc(maps.Keys(all), projections.CompareKeys)
	return func(yield func(*projections.Object) bool) {
		for _, k := range keys {
			if o := all[k]; o != nil && where.holds(k) && !yield(o) {
				return
			}
		}
	}
}
