package projections

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// World is the state of the cluster at one sequence of the log. It never
// changes, so it can be kept and read by anybody. Its zero value is not usable;
// start with [Empty].
type World struct {
	seq     uint64
	id      string    // of the event at seq
	time    time.Time // when the log stored the event at seq
	genesis events.Ref
	objects *iradix.Tree[*Object]
	index   *iradix.Tree[events.Key]
	gone    *iradix.Tree[events.Ref] // by uid: what removed an object that had dependents
	counts  map[string]int           // objects per table
	loads   *iradix.Tree[Load]       // what the pods of each node take
	skipped uint64                   // events that could not be folded
}

// Empty is the World before the first event.
func Empty() *World {
	return &World{objects: iradix.New[*Object](), index: iradix.New[events.Key](), gone: iradix.New[events.Ref](), loads: iradix.New[Load](), counts: map[string]int{}}
}

// Seq is the sequence of the last event folded, 0 for none. It is the
// resourceVersion of a list.
func (w *World) Seq() uint64 { return w.seq }

// ID is the id of the last event folded, empty for none.
func (w *World) ID() string { return w.id }

// Time is when the log stored the last event folded.
func (w *World) Time() time.Time { return w.time }

// Genesis is the first event of the log, the cause of what always exists.
func (w *World) Genesis() events.Ref { return w.genesis }

// Skipped counts events that were passed over because their payload did not fit
// their type. It is 0 unless somebody forged events.
func (w *World) Skipped() uint64 { return w.skipped }

// Get returns an object by key.
func (w *World) Get(k events.Key) (*Object, bool) { return w.objects.Get(objectKey(k)) }

// ByUID returns an object by uid.
func (w *World) ByUID(uid types.UID) (*Object, bool) {
	k, ok := w.index.Get(indexKey(byUID, string(uid), events.Key{}))
	if !ok {
		return nil, false
	}
	return w.Get(k)
}

// List yields a table's objects ("pods", "deployments.apps") in the order of
// namespace and name; of one namespace, or of all if namespace is empty.
func (w *World) List(table, namespace string) iter.Seq[*Object] {
	prefix := table + sep
	if namespace != "" {
		prefix += namespace + sep
	}
	return func(yield func(*Object) bool) {
		it := w.objects.Root().Iterator()
		it.SeekPrefix([]byte(prefix))
		for _, o, ok := it.Next(); ok; _, o, ok = it.Next() {
			if !yield(o) {
				return
			}
		}
	}
}

// Tables lists the tables that hold objects, sorted.
func (w *World) Tables() []string { return slices.Sorted(maps.Keys(w.counts)) }

// Count is the number of objects in a table.
func (w *World) Count(table string) int { return w.counts[table] }

// Namespaced yields every object in a namespace, table by table, but for
// Kubernetes Events that were folded from the log.
func (w *World) Namespaced(namespace string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		for _, table := range w.Tables() {
			for o := range w.List(table, namespace) {
				if o.Derived() {
					continue
				}
				if !yield(o) {
					return
				}
			}
		}
	}
}

// Dependents yields the objects that have an owner reference to uid.
func (w *World) Dependents(uid types.UID) iter.Seq[*Object] {
	return w.indexed(byOwner, string(uid))
}

// Departed is the event that removed an object which had dependents, by its uid.
// It is known for as long as the object's Kubernetes Events are.
func (w *World) Departed(uid types.UID) (events.Ref, bool) { return w.gone.Get([]byte(uid)) }

// Free yields the pods or ReplicaSets of a namespace that no controller has.
func (w *World) Free(table, namespace string) iter.Seq[*Object] {
	return w.indexed(unowned, table+sep+namespace)
}

// PodsOnNode yields the pods bound to a node; for an empty name, those bound to none.
func (w *World) PodsOnNode(node string) iter.Seq[*Object] { return w.indexed(byNode, node) }

// Indexes: what the first byte of an index key says.
const (
	byUID   = 'u'
	byOwner = 'o'
	byNode  = 'n'
	unowned = 'f' // by table and namespace, of the kinds that a controller can claim
	ofEvent = 'e' // Kubernetes Events by the uid of what they are about
	expiry  = 'x' // uids of deleted objects by the time their Kubernetes Events are dropped
)

func (w *World) indexed(index byte, value string) iter.Seq[*Object] {
	return func(yield func(*Object) bool) {
		it := w.index.Root().Iterator()
		it.SeekPrefix(indexPrefix(index, value))
		for _, k, ok := it.Next(); ok; _, k, ok = it.Next() {
			if o, ok := w.Get(k); ok && !yield(o) {
				return
			}
		}
	}
}

// sep cannot be part of a name: JSON strings from the door hold no NUL.
const sep = "\x00"

func objectKey(k events.Key) []byte {
	return []byte(k.GroupResource() + sep + k.Namespace + sep + k.Name)
}

func indexPrefix(index byte, value string) []byte {
	return []byte(string(index) + value + sep)
}

func indexKey(index byte, value string, k events.Key) []byte {
	if index == byUID {
		return indexPrefix(index, value)
	}
	return append(indexPrefix(index, value), objectKey(k)...)
}

// CompareKeys orders keys by table, namespace and name, as [World.List] does.
func CompareKeys(a, b events.Key) int {
	if c := strings.Compare(a.GroupResource(), b.GroupResource()); c != 0 {
		return c
	}
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}
