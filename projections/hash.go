package projections

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"maps"
	"slices"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"periplus.dev/events"
)

// Hashes name a World by what is in it: Worlds with the same state have the same
// hashes, however they came to be. All are sha256 in hexadecimal.
type Hashes struct {
	Total  string            `json:"total"`
	Tables map[string]string `json:"tables"` // of the objects of each table, "pods", "deployments.apps"
}

// Hash is computed over all that [World.Encode] writes.
func (w *World) Hash() (Hashes, error) {
	tables := map[string]hash.Hash{}
	var others bytes.Buffer
	err := w.records(func(table string, record []byte) error {
		to := io.Writer(&others)
		if table != "" {
			if tables[table] == nil {
				tables[table] = sha256.New()
			}
			to = tables[table]
		}
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(record)))
		_, _ = to.Write(length[:]) // neither a hash nor a buffer fails
		_, _ = to.Write(record)
		return nil
	})
	if err != nil {
		return Hashes{}, err
	}
	out, total := Hashes{Tables: map[string]string{}}, sha256.New()
	_, _ = total.Write(others.Bytes())
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		sum := tables[table].Sum(nil)
		out.Tables[table] = hex.EncodeToString(sum)
		_, _ = io.WriteString(total, table+sep)
		_, _ = total.Write(sum)
	}
	out.Total = hex.EncodeToString(total.Sum(nil))
	return out, nil
}

// How an object differs.
const (
	DiffersMissing  = "missing"  // from w
	DiffersExtra    = "extra"    // in w
	DiffersContents = "contents" // there in both
	DiffersBeside   = "beside"   // all objects are the same; what is kept beside them is not
)

// Difference is the first object in the order of keys that two Worlds do not have
// alike.
type Difference struct {
	How    string   `json:"how"`              // one of the constants
	Object string   `json:"object,omitempty"` // [events.Key] as text
	Seq    uint64   `json:"seq"`              // last event that changed the object in w, or in the other World if w lacks it
	Fields []string `json:"fields,omitempty"` // paths that differ in the object's value, such as "status.phase"
}

// Differs returns the first difference between w and the World that it should be,
// or nil if there is none.
func (w *World) Differs(want *World) *Difference {
	have, wanted := w.objects.Root().Iterator(), want.objects.Root().Iterator()
	a, inA := following(have)
	b, inB := following(wanted)
	for inA || inB {
		var order int
		switch {
		case !inB:
			order = -1
		case !inA:
			order = 1
		default:
			order = bytes.Compare(objectKey(a.Key), objectKey(b.Key))
		}
		switch {
		case order < 0:
			return &Difference{How: DiffersExtra, Object: a.Key.String(), Seq: a.Seq}
		case order > 0:
			return &Difference{How: DiffersMissing, Object: b.Key.String(), Seq: b.Seq}
		case !same(w, a, want, b):
			return &Difference{How: DiffersContents, Object: a.Key.String(), Seq: a.Seq, Fields: events.Paths(valueJSON(b), valueJSON(a))}
		}
		a, inA = following(have)
		b, inB = following(wanted)
	}
	if beside(w) != beside(want) {
		return &Difference{How: DiffersBeside, Seq: w.seq}
	}
	return nil
}

func following(it *iradix.Iterator[*Object]) (*Object, bool) {
	_, o, ok := it.Next()
	return o, ok
}

// same reports whether two objects are written alike.
func same(w *World, a *Object, v *World, b *Object) bool {
	var x, y encoder
	x.object(a, w.indexes(a))
	y.object(b, v.indexes(b))
	return bytes.Equal(x.buf, y.buf)
}

// beside is what a World keeps beside its objects.
func beside(w *World) string {
	var e encoder
	e.world(w)
	e.departed(w)
	e.loads(w)
	return string(e.buf)
}

// valueJSON is an object as Kubernetes shows it; empty if it cannot be written.
func valueJSON(o *Object) json.RawMessage {
	raw, err := json.Marshal(o.Value())
	if err != nil {
		return nil
	}
	return raw
}
