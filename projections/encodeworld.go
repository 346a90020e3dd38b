package projections

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

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
// the order of their keys, then what is remembered of objects that are no more.
// A record is its length and its bytes. The same World is always the same bytes,
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
	o = &Object{Key: d.key(), Seq: d.uint(), Desired: d.ref(), Own: d.ref(), Observed: d.ref(), Observer: d.word(), node: d.word(), view: &snapshot{}}
	found = d.bool()
	o.facts = d.facts()
	if v, ok := o.facts.(derived); ok {
		o.half = v.half()
		return o, found
	}
	raw := d.bytes()
	if d.err != nil {
		return o, found
	}
	if o.half, d.err = newHalf(raw); d.err != nil {
		d.err = fmt.Errorf("%s: %w", o.Key, d.err)
	}
	return o, found
}

// half is the desired half of a Kubernetes Event, which nobody asked for.
func (d derived) half() *half {
	h := &half{}
	h.head.Kind, h.head.Metadata.UID = "Event", d.uid
	return h
}

// errTrailing says that something stands behind an encoded World.
var errTrailing = errors.New("there is something behind its end")

// Decode reads a World that was written by [World.Encode] of this FoldVersion, up
// to the end of in. It is the same in every respect: what is folded onto it gives
// what folding onto the original gives. Whether the bytes are as they were
// written is the caller's to check; of any others it makes an error or a World,
// and never a panic.
func Decode(in io.Reader) (*World, error) {
	r := &reader{from: bufio.NewReaderSize(in, 1<<16), d: decoder{words: map[string]string{}}}
	w, err := r.world()
	if err != nil {
		return nil, fmt.Errorf("decode world: %w", err)
	}
	return w, nil
}

// reader reads records.
type reader struct {
	from *bufio.Reader
	buf  []byte
	d    decoder
}

// next reads the next record.
func (r *reader) next() (*decoder, error) {
	n, err := binary.ReadUvarint(r.from)
	switch {
	case errors.Is(err, io.EOF):
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case n > maxRecord:
		return nil, fmt.Errorf("a record of %d bytes, at most %d can be", n, maxRecord)
	}
	// What is not there is not made room for.
	const step = 1 << 20
	r.buf = r.buf[:0]
	for left := int(n); left > 0; left -= step {
		have := len(r.buf)
		r.buf = append(r.buf, make([]byte, min(left, step))...)
		if _, err := io.ReadFull(r.from, r.buf[have:]); err != nil {
			return nil, io.ErrUnexpectedEOF
		}
	}
	r.d.data, r.d.err = r.buf, nil
	return &r.d, nil
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
	index, loads := iradix.New[events.Key]().Txn(), iradix.New[Load]().Txn()
	if w.objects, err = r.objects(objects, w.counts, index, loads); err != nil {
		return nil, err
	}
	w.loads = loads.Commit()
	if w.gone, err = r.departed(index); err != nil {
		return nil, err
	}
	w.index = index.Commit()
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return w, nil
}

// objects reads n objects, counts them and puts them into the index.
func (r *reader) objects(n uint64, counts map[string]int, index *iradix.Txn[events.Key], loads *iradix.Txn[Load]) (*iradix.Tree[*Object], error) {
	objects := iradix.New[*Object]().Txn()
	for range n {
		d, err := r.next()
		if err != nil {
			return nil, err
		}
		o, found := d.object()
		if err := d.end(); err != nil {
			return nil, err
		}
		if _, twice := objects.Insert(objectKey(o.Key), o); twice {
			return nil, fmt.Errorf("%s is there twice", o.Key)
		}
		counts[o.Key.GroupResource()]++
		carry(loads, nil, o)
		if v, ok := o.facts.(derived); ok {
			index.Insert(indexKey(ofEvent, string(v.ref.UID), o.Key), o.Key)
			continue
		}
		for i, k := range indexKeys(o) {
			if i > 0 || found { // the first is that of the uid
				index.Insert(k, o.Key)
			}
		}
	}
	return objects.Commit(), nil
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
