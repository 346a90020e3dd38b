package logstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"periplus.dev/projections"
)

const (
	bookmarkEvery = 30 * time.Second // also how often an idle watch moves on, so that it does not expire
	watchBuffer   = 64
)

// watcher is one client's watch. Its goroutine ends when the request does.
type watcher struct {
	store  *Store
	where  scope
	match  storage.SelectionPredicate
	cursor uint64 // last sequence dealt with
	out    chan watch.Event
	cancel context.CancelFunc
}

// Stop implements watch.Interface.
func (w *watcher) Stop() { w.cancel() }

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

// Watch implements storage.Interface.
func (s *Store) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	where, err := s.scope(key, opts.Recursive)
	if err != nil {
		return nil, err
	}
	rv, err := s.ParseResourceVersion(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	world, err := s.world(ctx, opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	asked := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	initial := asked || opts.SendInitialEvents == nil && rv == 0
	w := &watcher{store: s, where: where, match: opts.Predicate, cursor: rv, out: make(chan watch.Event, watchBuffer)}
	if initial || rv == 0 {
		w.cursor = world.Seq()
	}
	if _, _, err := s.cfg.World.Changes(s.table, w.cursor); err != nil {
		return nil, gone(err, w.cursor)
	}
	ctx, w.cancel = context.WithCancel(ctx)
	go w.run(ctx, world, initial, asked)
	return w, nil
}

// gone is the answer to a watch whose changes are not kept any more.
func gone(err error, cursor uint64) *apierrors.StatusError {
	if errors.Is(err, projections.ErrExpired) {
		return expired(fmt.Sprintf("too old resource version: %d", cursor))
	}
	return apierrors.NewInternalError(err)
}

// run sends what is there, if it was asked for, and then what happens.
func (w *watcher) run(ctx context.Context, world *projections.World, initial, announce bool) {
	defer close(w.out)
	if initial && !w.sendAll(ctx, past{}.objects(world, w.store.table, w.where)) {
		return
	}
	if announce && w.match.AllowWatchBookmarks && !w.bookmark(ctx, true) {
		return
	}
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for {
		// The World first: all its changes are then among those that are read.
		head := w.store.cfg.World.Current().Seq()
		changes, next, err := w.store.cfg.World.Changes(w.store.table, w.cursor)
		if err != nil {
			status := gone(err, w.cursor).Status()
			w.send(ctx, watch.Event{Type: watch.Error, Object: &status})
			return
		}
		for i := range changes {
			if !w.change(ctx, &changes[i]) {
				return
			}
			w.cursor = changes[i].Seq
		}
		w.cursor = max(w.cursor, head)
		select {
		case <-next:
		case <-tick.C:
			if w.match.AllowWatchBookmarks && !w.bookmark(ctx, false) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) sendAll(ctx context.Context, objects iter.Seq[*projections.Object]) bool {
	for o := range objects {
		if w.matches(o) && !w.object(ctx, watch.Added, o, o.Seq) {
			return false
		}
	}
	return true
}

// change sends what a change means to this watch: an object that begins to match
// is added, one that ceases to match is deleted.
func (w *watcher) change(ctx context.Context, c *projections.Change) bool {
	if !w.where.holds(c.Object.Key) {
		return true
	}
	was := c.Prev != nil && w.matches(c.Prev)
	is := c.Type != projections.Deleted && w.matches(c.Object)
	switch {
	case was && c.Type == projections.Deleted:
		return w.object(ctx, watch.Deleted, c.Object, c.Seq)
	case was && is:
		return w.object(ctx, watch.Modified, c.Object, c.Seq)
	case is:
		return w.object(ctx, watch.Added, c.Object, c.Seq)
	case was:
		return w.object(ctx, watch.Deleted, c.Prev, c.Seq)
	default:
		return true
	}
}

func (w *watcher) matches(o *projections.Object) bool {
	ok, err := w.match.Matches(o.Value())
	return ok && err == nil
}

// object sends an object with the given sequence as its resourceVersion.
func (w *watcher) object(ctx context.Context, t watch.EventType, o *projections.Object, seq uint64) bool {
	v, err := w.store.open(o)
	if err != nil {
		status := apierrors.NewInternalError(err).Status()
		w.send(ctx, watch.Event{Type: watch.Error, Object: &status})
		return false
	}
	if err := w.store.UpdateObject(v, seq); err != nil {
		return false
	}
	return w.send(ctx, watch.Event{Type: t, Object: v})
}

// bookmark tells the client how far it has come; last marks the end of the
// initial objects.
func (w *watcher) bookmark(ctx context.Context, last bool) bool {
	obj := w.store.cfg.New()
	if err := w.store.UpdateObject(obj, w.cursor); err != nil {
		return false
	}
	if last {
		if err := storage.AnnotateInitialEventsEndBookmark(obj); err != nil {
			return false
		}
	}
	return w.send(ctx, watch.Event{Type: watch.Bookmark, Object: obj})
}

func (w *watcher) send(ctx context.Context, e watch.Event) bool {
	select {
	case w.out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
