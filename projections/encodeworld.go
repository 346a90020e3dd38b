package projections

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
)

// FoldVersion says what folds mean. It is raised with every change of the folds
// or of their wire form that makes a World folded before different from one
// folded now, so that no snapshot of the old meaning is taken for the new one.
const FoldVersion = 1

// maxRecord limits one record of an encoded World: an object's desired half, which
// [events.MaxDataBytes] limits, and what was observed of it.
const maxRecord = 64 << 20

// Encode writes the World: a record for the World itself, one for each object in
// the order of their keys, one for what is remembered of objects that are no more,
// and one for what is taken of each node. A record is its length and its bytes. The same World is always the same bytes,
// however it came to be.
func (w *World) Encode(out io.Writer) error {
	to := bufio.NewWriterSize(out, 1<<16)
	err := w.records(func(_ string, record []byte) error {
		var length [binary.MaxVarintLen64]byte
		if _, err := to.Write(length[:binary.PutUvarint(length[:], uint64(len(record)))]); err != nil {
			return err
		}
		_, err := to.Write(record)
		return err
	})
	if err == nil {
		err = to.Flush()
	}
	if err != nil {
		return fmt.Errorf("encode world at sequence %d: %w", w.seq, err)
	}
	return nil
}

// records calls fn with each record: table is the table of an object and empty
// for the others. The bytes are good until fn returns.
func (w *World) records(fn func(table string, record []byte) error) error {
	e := &encoder{}
	emit := func(table string) error {
		if e.err != nil {
			return e.err
		}
		err := fn(table, e.buf)
		e.buf = e.buf[:0]
		return err
	}
	e.world(w)
	if err := emit(""); err != nil {
		return err
	}
	objects := w.objects.Root().Iterator()
	for _, o, ok := objects.Next(); ok; _, o, ok = objects.Next() {
		e.object(o, w.indexes(o))
		if err := emit(o.Key.GroupResource()); err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
	}
	e.departed(w)
	if err := emit(""); err != nil {
		return err
	}
	e.loads(w)
	return emit("")
}

// world writes what the World is beside its objects.
func (e *encoder) world(w *World) {
	e.uint(w.seq)
	e.text(w.id)
	e.time(w.time)
	e.ref(w.genesis)
	e.uint(w.skipped)
	e.uint(uint64(w.objects.Len()))
}

// departed writes what is remembered of objects that are no more: what removed
// them, and until when.
func (e *encoder) departed(w *World) {
	e.uint(uint64(w.gone.Len()))
	gone := w.gone.Root().Iterator()
	for uid, ref, ok := gone.Next(); ok; uid, ref, ok = gone.Next() {
		e.bytes(uid)
		e.ref(ref)
	}
	var left int
	expiring := func(fn func(key []byte, uid string)) {
		it := w.index.Root().Iterator()
		it.SeekPrefix([]byte{expiry})
		for k, uid, ok := it.Next(); ok; k, uid, ok = it.Next() {
			fn(k, uid.Name)
		}
	}
	expiring(func([]byte, string) { left++ })
	e.uint(uint64(left))
	expiring(func(key []byte, uid string) {
		e.bytes(key)
		e.text(uid)
	})
}

// loads writes what the pods of each node take. It could be found by looking at
// all pods, but a start has no time for that.
func (e *encoder) loads(w *World) {
	e.uint(uint64(w.loads.Len()))
	it := w.loads.Root().Iterator()
	for node, l, ok := it.Next(); ok; node, l, ok = it.Next() {
		e.bytes(node)
		e.load(l)
	}
}

// indexes reports whether an object is the one that its uid leads to. It is not
// if somebody forged another one with the same uid.
func (w *World) indexes(o *Object) bool {
	k, ok := w.index.Get(indexKey(byUID, string(o.UID()), o.Key))
	return ok && k == o.Key
}

// object writes an object; found says that its uid leads to it.
func (e *encoder) object(o *Object, found bool) {
	e.key(o.Key)
	e.uint(o.Seq)
	e.ref(o.Desired)
	e.ref(o.Own)
	e.ref(o.Observed)
	e.text(o.Observer)
	e.text(o.node)
	e.bool(found)
	e.facts(o.facts)
	if !o.Derived() {
		e.bytes(o.half.raw)
	}
}

func (d *decoder) object() (o *Object, found bool) {
	o = &Object{Key: d.key(), Seq: d.uint(), Desired: d.ref(), Own: d.ref(), Observed: d.ref(), Observer: d.word(), node: d.word()}
	found = d.bool()
	o.facts = d.facts()
	if v, ok := o.facts.(derived); ok {
		// One piece of memory: most objects are of this kind, and none of them changes.
		whole := &struct {
			half half
			view snapshot
		}{}
		whole.half.head.Kind, whole.half.head.Metadata.UID = "Event", v.uid
		o.half, o.view = &whole.half, &whole.view
		return o, found
	}
	o.view = &snapshot{}
	raw := d.bytes()
	if d.err != nil {
		return o, found
	}
	if o.half, d.err = newHalf(raw); d.err != nil {
		d.err = fmt.Errorf("%s: %w", o.Key, d.err)
	}
	return o, found
}

// errTrailing says that something stands behind an encoded World.
var errTrailing = errors.New("there is something behind its end")

// Both runs two functions that have nothing to do with each other and returns
// when both are done.
type Both func(a, b func())

// InTurn runs one after the other.
func InTurn(a, b func()) { a(); b() }

// Decode reads a World that was written by [World.Encode] of this FoldVersion, up
// to the end of in. It is the same in every respect: what is folded onto it gives
// what folding onto the original gives. Whether the bytes are as they were
// written is the caller's to check; of any others it makes an error or a World,
// and never a panic. With a Both that runs its functions at once it takes half the
// time.
func Decode(in io.Reader, both Both) (*World, error) {
	r := &reader{from: bufio.NewReaderSize(in, 1<<16), both: both}
	w, err := r.world()
	if err != nil {
		return nil, fmt.Errorf("decode world: %w", err)
	}
	return w, nil
}

// reader reads records.
type reader struct {
	from *bufio.Reader
	both Both
	d    [2]decoder
	buf  []byte
	ends []int // of the records in buf
}

// Limits of what is read at once.
const (
	maxBatch      = 4096    // records
	maxBatchBytes = 8 << 20 // unless one record is bigger
)

// fill reads up to n records, one at least.
func (r *reader) fill(n int) error {
	r.buf, r.ends = r.buf[:0], r.ends[:0]
	for len(r.ends) < min(n, maxBatch) && len(r.buf) < maxBatchBytes {
		size, err := binary.ReadUvarint(r.from)
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case size > maxRecord:
			return fmt.Errorf("a record of %d bytes, at most %d can be", size, maxRecord)
		}
		if err := r.take(int(size)); err != nil {
			return err
		}
		r.ends = append(r.ends, len(r.buf))
	}
	return nil
}

// take reads so many bytes; for what is not there no room is made.
func (r *reader) take(size int) error {
	const step = 1 << 20
	for ; size > 0; size -= step {
		have := len(r.buf)
		r.buf = slices.Grow(r.buf, min(size, step))[:have+min(size, step)]
		if _, err := io.ReadFull(r.from, r.buf[have:]); err != nil {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

// record is the i-th record that was read.
func (r *reader) record(i int) []byte {
	begin := 0
	if i > 0 {
		begin = r.ends[i-1]
	}
	return r.buf[begin:r.ends[i]]
}

// next reads the next record.
func (r *reader) next() (*decoder, error) {
	if err := r.fill(1); err != nil {
		return nil, err
	}
	r.d[0].data, r.d[0].err = r.record(0), nil
	return &r.d[0], nil
}

func (r *reader) world() (*World, error) {
	d, err := r.next()
	if err != nil {
		return nil, err
	}
	w := &World{seq: d.uint(), id: d.text(), time: d.time(), genesis: d.ref(), skipped: d.uint(), counts: map[string]int{}}
	objects := d.uint()
	if err := d.end(); err != nil {
		return nil, err
	}
	index := iradix.New[events.Key]().Txn()
	if w.objects, err = r.objects(objects, w.counts, index); err != nil {
		return nil, err
	}
	if w.gone, err = r.departed(index); err != nil {
		return nil, err
	}
	if w.loads, err = r.loads(); err != nil {
		return nil, err
	}
	w.index = index.Commit()
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return w, nil
}

// objects reads n objects, counts them and puts them into the index.
func (r *reader) objects(n uint64, counts map[string]int, index *iradix.Txn[events.Key]) (*iradix.Tree[*Object], error) {
	objects := iradix.New[*Object]().Txn()
	batch := make([]read, maxBatch)
	for n > 0 {
		if err := r.fill(int(min(n, maxBatch))); err != nil {
			return nil, err
		}
		part := batch[:len(r.ends)]
		n -= uint64(len(part))
		if err := r.decode(part); err != nil {
			return nil, err
		}
		var twice *Object
		r.both(func() {
			for _, o := range part {
				if _, known := objects.Insert(objectKey(o.object.Key), o.object); known {
					twice = o.object
				}
				counts[o.object.Key.GroupResource()]++
			}
		}, func() {
			for _, o := range part {
				o.putInto(index)
			}
		})
		if twice != nil {
			return nil, fmt.Errorf("%s is there twice", twice.Key)
		}
	}
	return objects.Commit(), nil
}

// read is an object, and whether its uid leads to it.
type read struct {
	object *Object
	found  bool
}

// decode decodes the records that were read, half of them here and half there.
func (r *reader) decode(part []read) error {
	half := len(part) / 2
	decode := func(d *decoder, from, to int) {
		for i := from; i < to && d.err == nil; i++ {
			d.data = r.record(i)
			part[i].object, part[i].found = d.object()
			_ = d.end() // the decoder keeps it
		}
	}
	a, b := &r.d[0], &r.d[1]
	a.err, b.err = nil, nil
	r.both(func() { decode(a, 0, half) }, func() { decode(b, half, len(part)) })
	if a.err != nil {
		return a.err
	}
	return b.err
}

// putInto puts the object where it is looked up.
func (o read) putInto(index *iradix.Txn[events.Key]) {
	key := o.object.Key
	if v, ok := o.object.facts.(derived); ok {
		index.Insert(indexKey(ofEvent, string(v.ref.UID), key), key)
		return
	}
	for i, k := range indexKeys(o.object) {
		if i > 0 || o.found { // the first is that of the uid
			index.Insert(k, key)
		}
	}
}

func (r *reader) departed(index *iradix.Txn[events.Key]) (*iradix.Tree[events.Ref], error) {
	d, err := r.next()
	if err != nil {
		return nil, err
	}
	gone := iradix.New[events.Ref]().Txn()
	for range d.count() {
		uid := d.bytes()
		gone.Insert(uid, d.ref())
	}
	for range d.count() {
		key := d.bytes()
		uid := types.UID(d.text())
		index.Insert(key, events.Key{Name: string(uid)})
	}
	return gone.Commit(), d.end()
}

func (r *reader) loads() (*iradix.Tree[Load], error) {
	d, err := r.next()
	if err != nil {
		return nil, err
	}
	loads := iradix.New[Load]().Txn()
	for range d.count() {
		node := d.bytes()
		loads.Insert(node, d.load())
	}
	return loads.Commit(), d.end()
}
