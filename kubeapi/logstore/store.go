// Package logstore is the storage of the Kubernetes door: a storage.Interface
// of k8s.io/apiserver whose reads come from the projection of the log and whose
// writes are appended events.
//
// It promises:
//
//  1. A write that is answered is in the log, once, and folded: who wrote it reads it.
//  2. A write whose outcome is unknown is repeated, unchanged, until it is known
//     or the request ends; nothing is lost or done twice.
//  3. An event is appended only if its author had seen the last one of the same
//     half of the object; otherwise the request is decided anew.
//  4. A list is one state of the cluster, also across pages, or 410 Gone.
//  5. A watch misses nothing after its resourceVersion, or ends with 410 Gone.
//
// A resourceVersion is a sequence of the log. Start reading at [Store]; write.go
// has what appends.
package logstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"

	"periplus.dev/events"
	"periplus.dev/projections"
)

// Projection is what the store reads: the newest World and its changes.
// *projections.Projection is one.
type Projection interface {
	Current() *projections.World
	Await(ctx context.Context, seq uint64) (*projections.World, error)
	CaughtUp() <-chan struct{}
	Changes(table string, after uint64) ([]projections.Change, <-chan struct{}, error)
}

// Log is what the store writes to. events.Log is one.
type Log interface {
	Append(ctx context.Context, proposals ...events.Proposal) ([]uint64, error)
	Last(ctx context.Context, s events.Subject) (events.Recorded, bool, error)
}

// Config of the store of one kind. All fields but Seal and Open are required.
type Config struct {
	Resource schema.GroupResource
	Kind     string // singular, lower case, as in event types: "deployment"
	Prefix   string // of storage keys: "/apps/deployments"
	New      func() runtime.Object
	World    Projection
	Log      Log
	Now      func() time.Time
	NewID    func() string

	// Seal makes of an object what may stand in the log, and Open undoes it.
	// Both return a copy. Nil if the kind holds no secrets.
	Seal func(runtime.Object) (runtime.Object, error)
	Open func(runtime.Object) (runtime.Object, error)
}

// Store is the storage of one kind.
type Store struct {
	storage.APIObjectVersioner
	cfg   Config
	table string
	empty reflect.Type
}

var _ storage.Interface = (*Store)(nil)

// New is the store of one kind.
func New(cfg Config) *Store {
	return &Store{
		cfg:   cfg,
		table: events.Key{Group: cfg.Resource.Group, Resource: cfg.Resource.Resource}.GroupResource(),
		empty: reflect.TypeOf(cfg.New()).Elem(),
	}
}

// freshness bounds how long a read waits for a resourceVersion it was asked for.
const freshness = 3 * time.Second

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.APIObjectVersioner }

// Get implements storage.Interface.
func (s *Store) Get(ctx context.Context, key string, opts storage.GetOptions, out runtime.Object) error {
	k, err := s.key(key)
	if err != nil {
		return err
	}
	w, err := s.world(ctx, opts.ResourceVersion)
	if err != nil {
		return err
	}
	o, ok := w.Get(k)
	switch {
	case !ok && opts.IgnoreNotFound:
		return runtime.SetZeroValue(out)
	case !ok:
		return storage.NewKeyNotFoundError(key, signed(w.Seq()))
	}
	v, err := s.open(o)
	if err != nil {
		return err
	}
	assign(out, v)
	return nil
}

// world is the newest World once it has caught up with the log and has folded
// the given resourceVersion, if there is one.
func (s *Store) world(ctx context.Context, resourceVersion string) (*projections.World, error) {
	select {
	case <-s.cfg.World.CaughtUp():
	case <-ctx.Done():
		return nil, apierrors.NewServiceUnavailable("the server has not read its log to the end yet")
	}
	rv, err := s.ParseResourceVersion(resourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", err))
	}
	w := s.cfg.World.Current()
	if w.Seq() >= rv {
		return w, nil
	}
	limited, cancel := context.WithTimeout(ctx, freshness)
	defer cancel()
	if w, err = s.cfg.World.Await(limited, rv); err != nil {
		return nil, storage.NewTooLargeResourceVersionError(rv, s.cfg.World.Current().Seq(), 1)
	}
	return w, nil
}

// key reads a storage key: PREFIX/NAME or PREFIX/NAMESPACE/NAME.
func (s *Store) key(key string) (events.Key, error) {
	rest, ok := strings.CutPrefix(key, s.cfg.Prefix+"/")
	k := events.Key{Group: s.cfg.Resource.Group, Resource: s.cfg.Resource.Resource, Name: rest}
	if ns, name, two := strings.Cut(rest, "/"); two {
		k.Namespace, k.Name = ns, name
	}
	if !ok || k.Name == "" {
		return events.Key{}, storage.NewInternalError(fmt.Errorf("storage key %q is not below %q", key, s.cfg.Prefix))
	}
	return k, nil
}

// scope is what a list or a watch is about: everything, a namespace, or one object.
type scope struct {
	namespace string
	single    *events.Key
}

func (s *Store) scope(key string, recursive bool) (scope, error) {
	if !recursive {
		k, err := s.key(key)
		return scope{single: &k}, err
	}
	rest, ok := strings.CutPrefix(strings.TrimSuffix(key, "/"), s.cfg.Prefix)
	if !ok || strings.Count(rest, "/") > 1 {
		return scope{}, storage.NewInternalError(fmt.Errorf("storage prefix %q is not below %q", key, s.cfg.Prefix))
	}
	return scope{namespace: strings.TrimPrefix(rest, "/")}, nil
}

func (c scope) holds(k events.Key) bool {
	if c.single != nil {
		return k == *c.single
	}
	return c.namespace == "" || k.Namespace == c.namespace
}

// open is an object as clients see it: its own top level, the rest shared with
// the World unless it was sealed.
func (s *Store) open(o *projections.Object) (runtime.Object, error) {
	v := o.Value()
	if s.cfg.Open != nil {
		out, err := s.cfg.Open(v)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		return out, nil
	}
	if t := reflect.TypeOf(v); t.Elem() != s.empty {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s is a %s in the World", o.Key, t))
	}
	out := s.cfg.New()
	assign(out, v)
	return out, nil
}

// assign sets what out points at to a copy of the top level of v.
func assign(out, v runtime.Object) { reflect.ValueOf(out).Elem().Set(reflect.ValueOf(v).Elem()) }

// signed is a sequence as k8s.io/apiserver wants it.
func signed(seq uint64) int64 {
	if seq > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(seq)
}

// Stats implements storage.Interface.
func (s *Store) Stats(context.Context) (storage.Stats, error) {
	return storage.Stats{ObjectCount: int64(s.cfg.World.Current().Count(s.table))}, nil
}

// ReadinessCheck implements storage.Interface: ready once the World has caught up.
func (s *Store) ReadinessCheck() error {
	select {
	case <-s.cfg.World.CaughtUp():
		return nil
	default:
		return errors.New("the log has not been read to its end yet")
	}
}

// RequestWatchProgress implements storage.Interface; watches report progress by themselves.
func (s *Store) RequestWatchProgress(context.Context) error { return nil }

// GetCurrentResourceVersion implements storage.Interface.
func (s *Store) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	w, err := s.world(ctx, "")
	if err != nil {
		return 0, err
	}
	return w.Seq(), nil
}

// EnableResourceSizeEstimation implements storage.Interface; sizes are not estimated.
func (s *Store) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface; the log is not compacted.
func (s *Store) CompactRevision() int64 { return 0 }

// expired is 410 Gone: the client has to start anew from a list.
func expired(message string) *apierrors.StatusError {
	return apierrors.NewResourceExpired(message)
}

// unavailable is 503 with a Retry-After, which client-go obeys.
func unavailable(err error) error {
	out := apierrors.NewServiceUnavailable(err.Error())
	out.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return out
}
