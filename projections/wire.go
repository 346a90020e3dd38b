package projections

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"periplus.dev/events"
)

// errTorn says that a record ends before what it should hold.
var errTorn = errors.New("the record is torn")

// encoder writes values one behind the other, each in one way only: equal values
// give equal bytes. The first error stays.
type encoder struct {
	buf []byte
	err error
}

func (e *encoder) uint(n uint64) { e.buf = binary.AppendUvarint(e.buf, n) }

func (e *encoder) int(n int) { e.buf = binary.AppendVarint(e.buf, int64(n)) }

func (e *encoder) bool(b bool) {
	n := uint64(0)
	if b {
		n = 1
	}
	e.uint(n)
}

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	e.buf = append(e.buf, b...)
}

// secondsToUnix lie between the zero time and the Unix epoch.
const secondsToUnix = 62135596800

// time writes an instant; where in the world it was read is not kept.
func (e *encoder) time(t time.Time) {
	e.uint(uint64(t.Unix() + secondsToUnix))
	e.uint(uint64(t.Nanosecond()))
}

func (e *encoder) ref(r events.Ref) {
	e.uint(r.Seq)
	e.text(r.ID)
	e.text(r.Change)
}

func (e *encoder) key(k events.Key) {
	e.text(k.Group)
	e.text(k.Resource)
	e.text(k.Namespace)
	e.text(k.Name)
}

func (e *encoder) texts(all []string) {
	e.uint(uint64(len(all)))
	for _, s := range all {
		e.text(s)
	}
}

// json writes what has no form of its own, as JSON.
func (e *encoder) json(v any) {
	raw, err := json.Marshal(v)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("encode %T: %w", v, err)
	}
	e.bytes(raw)
}

// decoder reads what an encoder wrote. After the first error it reads zeros.
type decoder struct {
	data  []byte
	err   error
	words [maxWords]string // texts that were read lately, by a hash of theirs
}

func (d *decoder) fail() {
	d.data = nil
	if d.err == nil {
		d.err = errTorn
	}
}

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.data)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[size:]
	return n
}

func (d *decoder) int() int {
	n, size := binary.Varint(d.data)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.data = d.data[size:]
	return int(n)
}

func (d *decoder) bool() bool { return d.uint() != 0 }

// count reads how many follow; each takes a byte at least.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.data)) {
		d.fail()
		return 0
	}
	return int(n)
}

// view returns bytes that are only good until the record is.
func (d *decoder) view() []byte {
	n := d.count()
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *decoder) text() string { return string(d.view()) }

func (d *decoder) bytes() []byte { return slices.Clone(d.view()) }

// maxWords is how many texts a decoder remembers.
const maxWords = 1 << 12

// word reads a text that other records nearby have as well, such as a namespace,
// so that it is kept once.
func (d *decoder) word() string {
	b := d.view()
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	known := &d.words[(h^h>>16)%maxWords]
	if *known != string(b) {
		*known = string(b)
	}
	return *known
}

func (d *decoder) time() time.Time {
	seconds, nanos := d.uint(), d.uint()
	return time.Unix(int64(seconds)-secondsToUnix, int64(nanos)).UTC()
}

func (d *decoder) ref() events.Ref { return events.Ref{Seq: d.uint(), ID: d.text(), Change: d.word()} }

func (d *decoder) key() events.Key {
	return events.Key{Group: d.word(), Resource: d.word(), Namespace: d.word(), Name: d.text()}
}

func (d *decoder) texts() []string {
	var all []string
	for range d.count() {
		all = append(all, d.word())
	}
	return all
}

func (d *decoder) json(v any) {
	raw := d.view()
	if d.err != nil {
		return
	}
	if err := json.Unmarshal(raw, v); err != nil {
		d.err = fmt.Errorf("decode %T: %w", v, err)
	}
}

// end returns the first error; bytes that nobody read are one.
func (d *decoder) end() error {
	if d.err == nil && len(d.data) > 0 {
		d.err = fmt.Errorf("%d bytes too many in a record", len(d.data))
	}
	return d.err
}

// putOptional writes whether there is a value, and the value as JSON.
func putOptional[T any](e *encoder, v *T) {
	e.bool(v != nil)
	if v != nil {
		e.json(v)
	}
}

func getOptional[T any](d *decoder) *T {
	if !d.bool() {
		return nil
	}
	v := new(T)
	d.json(v)
	return v
}

// putMap writes a map in the order of its keys.
func putMap[K ~int | ~string, V any](e *encoder, m map[K]V, put func(K, V)) {
	e.uint(uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		put(k, m[k])
	}
}

// getMap reads a map; an empty one is nil.
func getMap[K ~int | ~string, V any](d *decoder, get func() (K, V)) map[K]V {
	n := d.count()
	if n == 0 {
		return nil
	}
	m := make(map[K]V, n)
	for range n {
		k, v := get()
		m[k] = v
	}
	return m
}
