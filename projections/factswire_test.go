package projections

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
	"unsafe"

	"k8s.io/apimachinery/pkg/api/resource"
)

// fill gives every field of v below it, exported or not, a value that is not its
// zero, different from the last.
type fill struct{ n int }

func (f *fill) value(t *testing.T, v reflect.Value, path string) {
	t.Helper()
	f.n++
	switch special := v.Addr().Interface().(type) {
	case **Object: // what a note is about is only there while the note is made
		return
	case *time.Time:
		*special = time.Unix(int64(1_700_000_000+f.n), 0).UTC()
		return
	case *resource.Quantity:
		*special = *resource.NewQuantity(int64(f.n), resource.DecimalSI)
		return
	case *json.RawMessage:
		*special = json.RawMessage(fmt.Sprintf(`{"n":%d}`, f.n))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Field(i)
			f.value(t, reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem(), path+"."+v.Type().Field(i).Name)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.value(t, v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.value(t, v.Index(0), path+"[0]")
		f.value(t, v.Index(1), path+"[1]")
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.value(t, key, path+"{key}")
		f.value(t, elem, path+"{}")
		v.SetMapIndex(key, elem)
	case reflect.String:
		v.SetString(fmt.Sprintf("text-%d", f.n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.n))
	case reflect.Uint64:
		v.SetUint(uint64(f.n))
	default:
		t.Fatalf("%s: this test cannot fill a %s", path, v.Type())
	}
}

// Nothing that a fold remembers is lost on its way through a snapshot: whoever
// adds a field to facts and not to their wire form fails here.
func TestFactsSurvive(t *testing.T) {
	for _, empty := range []facts{podFacts{}, nodeFacts{}, setFacts{}, rolloutFacts{}, otherFacts{}, derived{}} {
		t.Run(reflect.TypeOf(empty).Name(), func(t *testing.T) {
			whole := reflect.New(reflect.TypeOf(empty)).Elem()
			(&fill{}).value(t, whole, "")
			for _, f := range []facts{whole.Interface().(facts), empty} {
				var e encoder
				e.facts(f)
				d := decoder{data: slices.Clone(e.buf)}
				back := d.facts()
				if err := d.end(); err != nil || e.err != nil {
					t.Fatal(err, e.err)
				}
				var again encoder
				again.facts(back)
				if !slices.Equal(e.buf, again.buf) {
					t.Errorf("written again it is other bytes: %v", back)
				}
				if want, got := dump(f), dump(back); want != got {
					t.Errorf("came back as\n%s\nand was\n%s", got, want)
				}
				for cut := range len(e.buf) {
					d := decoder{data: slices.Clone(e.buf[:cut])}
					d.facts()
					if d.end() == nil {
						t.Errorf("of %d bytes the first %d are enough", len(e.buf), cut)
					}
				}
			}
		})
	}
}

// Nor is what is taken of a node.
func TestLoadSurvives(t *testing.T) {
	var whole Load
	(&fill{}).value(t, reflect.ValueOf(&whole).Elem(), "")
	for _, l := range []Load{whole, {}} {
		var e encoder
		e.load(l)
		d := decoder{data: e.buf}
		back := d.load()
		if err := d.end(); err != nil || dump(back) != dump(l) {
			t.Errorf("came back as\n%s\nand was\n%s, %v", dump(back), dump(l), err)
		}
	}
}

// dump writes a value with all its fields, whatever pointers lead to them.
func dump(v any) string {
	whole := reflect.New(reflect.TypeOf(v)).Elem()
	whole.Set(reflect.ValueOf(v))
	return dumped(whole)
}

func dumped(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Invalid:
		return "nil"
	case reflect.Interface, reflect.Pointer:
		return dumped(v.Elem())
	case reflect.Struct:
		out := v.Type().Name() + "{"
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name == "loc" || name == "s" { // where a time was read; how a quantity was written
				continue
			}
			out += v.Type().Field(i).Name + ":" + dumped(v.Field(i)) + " "
		}
		return out + "}"
	case reflect.Slice:
		out := "["
		for i := range v.Len() {
			out += dumped(v.Index(i)) + " "
		}
		return out + "]"
	case reflect.Map:
		var all []string
		for it := v.MapRange(); it.Next(); {
			all = append(all, dumped(it.Key())+":"+dumped(it.Value()))
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	default:
		return fmt.Sprint(v)
	}
}

// A kind of facts without a wire form is an error and not a loss.
func TestUnknownFacts(t *testing.T) {
	var e encoder
	if e.facts(strangeFacts{}); e.err == nil {
		t.Error("it was written")
	}
	d := decoder{data: []byte{99}}
	if d.facts(); d.err == nil {
		t.Error("it was read")
	}
}

type strangeFacts struct{ otherFacts }
