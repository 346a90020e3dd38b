package projections

import (
	"bytes"
	"maps"
	"slices"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
	"github.com/tidwall/gjson"

	"periplus.dev/events"
)

// ChangeType says what a change did to an object.
type ChangeType int

// The ways an object changes.
const (
	Added ChangeType = iota
	Modified
	Deleted
)

// String is the Kubernetes watch event type.
func (t ChangeType) String() string { return [...]string{"ADDED", "MODIFIED", "DELETED"}[t] }

// Change is what one event did to one object.
type Change struct {
	Seq    uint64
	Type   ChangeType
	Object *Object // after the change; if Deleted, the last state with Seq as its resourceVersion
	Prev   *Object // before the change; nil if Added
}

// Fold returns the World after r and what it changed, in the order of cause and
// consequence. An event at or before w's sequence changes nothing.
func (w *World) Fold(r events.Recorded) (*World, []Change) {
	if r.Seq <= w.seq {
		return w, nil
	}
	f := &folding{world: w, r: r, objects: w.objects.Txn(), index: w.index.Txn(), gone: w.gone.Txn(), loads: w.loads.Txn(), counts: w.counts, skipped: w.skipped}
	f.fold()
	f.expire()
	genesis := w.genesis
	if genesis.Seq == 0 {
		genesis = r.Ref()
	}
	return &World{
		seq: r.Seq, id: r.ID, time: r.Stored, genesis: genesis, skipped: f.skipped,
		objects: f.objects.Commit(), index: f.index.Commit(), gone: f.gone.Commit(), loads: f.loads.Commit(), counts: f.counts,
	}, f.changes
}

// folding is one call of Fold under way.
type folding struct {
	world   *World
	r       events.Recorded
	objects *iradix.Txn[*Object]
	index   *iradix.Txn[events.Key]
	gone    *iradix.Txn[events.Ref]
	loads   *iradix.Txn[Load]
	counts  map[string]int
	changes []Change
	skipped uint64
}

func (f *folding) fold() {
	spec, known := events.Lookup(f.r.Type)
	if !known || spec.Half != f.r.Subject.Half {
		f.skipped++
		return
	}
	old, exists := f.objects.Get(objectKey(f.r.Subject.Key))
	var ok bool
	switch {
	case spec.Half == events.Actual:
		ok = f.observe(old, exists)
	case spec.Terminal:
		ok = !exists || f.remove(old)
	case spec.Fat:
		ok = f.want(old, exists)
	case f.r.Type == events.PodScheduled:
		ok = f.schedule(old, exists)
	}
	if !ok {
		f.skipped++
	}
}

// want folds the whole desired half of a fat event.
func (f *folding) want(old *Object, exists bool) bool {
	object := gjson.GetBytes(f.r.Data, "object")
	if !object.IsObject() || object.Index == 0 {
		return false
	}
	h, err := newHalf(f.r.Data[object.Index : object.Index+len(object.Raw)])
	if err != nil {
		return false
	}
	if !exists {
		old = &Object{Key: f.r.Subject.Key}
		if f.r.Subject.Key.GroupResource() == Pods {
			old.facts = podFacts{}
		}
	}
	o := old.with(f.r)
	o.half = h
	o = f.derive(o)
	if exists {
		f.put(o, old)
	} else {
		f.put(o, nil)
	}
	f.tell(o)
	return true
}

// schedule folds the scheduler's choice of a node.
func (f *folding) schedule(old *Object, exists bool) bool {
	d, err := events.Decode[events.Scheduled](f.r)
	if err != nil {
		return false
	}
	if !exists || string(old.UID()) != d.UID {
		return true // about an earlier pod of that name
	}
	o := old.with(f.r)
	o.node = d.Node
	o.facts = podFactsOf(o).scheduled(f.r.Time)
	f.put(o, old)
	f.tell(o)
	return true
}

// observe folds a fact of the actual half. Facts about an object that is no more
// or about an earlier one of the same name change nothing.
func (f *folding) observe(old *Object, exists bool) bool {
	if f.r.Type == events.NodeRegistered && !exists {
		return f.register()
	}
	uid := gjson.GetBytes(f.r.Data, "uid").Str
	if !exists || uid != "" && uid != string(old.UID()) {
		return true
	}
	next, err := observed(old, f.r)
	if err != nil {
		return false
	}
	o := old.with(f.r)
	o.facts = next
	f.put(f.derive(o), old)
	f.tell(o)
	return true
}

// observed is the folded actual half after r.
func observed(o *Object, r events.Recorded) (facts, error) {
	if r.Type.Fact() == events.FactStatusReported {
		d, err := events.Decode[reportedStatus](r)
		if err != nil {
			return nil, err
		}
		return withReported(o, d.Status)
	}
	switch o.Key.GroupResource() {
	case Pods:
		return podFactsOf(o).fold(o, r)
	case Nodes:
		return nodeFactsOf(o).fold(r)
	default:
		return o.facts, nil
	}
}

// remove takes an object away.
func (f *folding) remove(old *Object) bool {
	o := old.with(f.r)
	f.tell(o)
	f.depart(old)
	key := objectKey(old.Key)
	f.objects.Delete(key)
	for _, k := range indexKeys(old) {
		f.index.Delete(k)
	}
	f.count(old.Key.GroupResource(), -1)
	f.changes = append(f.changes, Change{Seq: f.r.Seq, Type: Deleted, Object: o, Prev: old})
	f.forget(old)
	carry(f.loads, old, nil)
	f.propagate(old, nil)
	return true
}

// depart remembers what removed an object for as long as others name it as their
// owner, so that what follows for them has a cause.
func (f *folding) depart(o *Object) {
	it := f.index.Root().Iterator()
	it.SeekPrefix(indexPrefix(byOwner, string(o.UID())))
	if _, _, dependents := it.Next(); dependents {
		f.gone.Insert([]byte(o.UID()), f.r.Ref())
	}
}

// put stores o, records the change and lets owners follow.
func (f *folding) put(o, old *Object) {
	f.objects.Insert(objectKey(o.Key), o)
	if old == nil {
		f.count(o.Key.GroupResource(), 1)
	}
	if old == nil || old.half != o.half || old.node != o.node {
		f.reindex(o, old)
	}
	t := Modified
	if old == nil {
		t = Added
	}
	f.changes = append(f.changes, Change{Seq: f.r.Seq, Type: t, Object: o, Prev: old})
	carry(f.loads, old, o)
	f.propagate(old, o)
}

func (f *folding) reindex(o, old *Object) {
	next := indexKeys(o)
	if old == nil {
		for _, k := range next {
			f.index.Insert(k, o.Key)
		}
		return
	}
	before := indexKeys(old)
	for _, k := range before {
		if !holds(next, k) {
			f.index.Delete(k)
		}
	}
	for _, k := range next {
		if !holds(before, k) {
			f.index.Insert(k, o.Key)
		}
	}
}

func holds(keys [][]byte, k []byte) bool {
	return slices.ContainsFunc(keys, func(o []byte) bool { return bytes.Equal(o, k) })
}

func (f *folding) count(table string, by int) {
	f.counts = maps.Clone(f.counts)
	if f.counts[table] += by; f.counts[table] == 0 {
		delete(f.counts, table)
	}
}

func indexKeys(o *Object) [][]byte {
	keys := [][]byte{indexKey(byUID, string(o.UID()), o.Key)}
	for _, ref := range o.Owners() {
		keys = append(keys, indexKey(byOwner, string(ref.UID), o.Key))
	}
	table := o.Key.GroupResource()
	if (table == Pods || table == ReplicaSets) && o.Controller() == nil {
		keys = append(keys, indexKey(unowned, table+sep+o.Key.Namespace, o.Key))
	}
	if table == Pods {
		keys = append(keys, indexKey(byNode, o.NodeName(), o.Key))
	}
	return keys
}

// keepEvents is how long the Kubernetes Events of a deleted object can still be
// read, by the clock of the log; as long as upstream keeps any.
const keepEvents = time.Hour
