package projections

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"periplus.dev/events"
)

var gvkNone = schema.GroupVersionKind{}

// DesiredJSON is the desired half of an object as it is recorded in
// [events.State]: with apiVersion and kind, without status and resourceVersion.
// obj is not modified.
func DesiredJSON(table string, obj runtime.Object) (json.RawMessage, error) {
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", table, err)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("encode %s: %w", table, err)
	}
	metadata := map[string]json.RawMessage{}
	if err := json.Unmarshal(fields["metadata"], &metadata); err != nil {
		return nil, fmt.Errorf("encode metadata of %s: %w", table, err)
	}
	delete(fields, "status")
	delete(metadata, "resourceVersion")
	delete(metadata, "selfLink")
	if fields["metadata"], err = json.Marshal(metadata); err != nil {
		return nil, fmt.Errorf("encode metadata of %s: %w", table, err)
	}
	if k, ok := kindOf(table); ok {
		apiVersion, name := k.gvk.ToAPIVersionAndKind()
		fields["apiVersion"] = json.RawMessage(strconv.Quote(apiVersion))
		fields["kind"] = json.RawMessage(strconv.Quote(name))
	}
	return json.Marshal(fields)
}

// Created proposes that an object comes to be. Its name, namespace and uid are
// taken from obj. It panics if obj cannot be encoded, which no k8s.io/api type
// can cause.
func Created(key events.Key, t events.Type, cause events.Ref, obj runtime.Object) events.Proposal {
	raw, uid := mustEncode(key, obj)
	return events.New(key.Wanted(), 0, t, cause, events.State{Object: raw, UID: uid})
}

// Changed proposes another desired half for an object: next is its whole new
// state (see [Object.Value]). It panics as [Created] does.
func Changed(o *Object, t events.Type, cause events.Ref, next runtime.Object) events.Proposal {
	raw, uid := mustEncode(o.Key, next)
	changed := events.Paths(o.half.raw, raw)
	if o.node != "" { // the scheduler's choice stands in the desired half from now on; this event does not make it
		changed = slices.DeleteFunc(changed, func(path string) bool { return path == "spec.nodeName" })
	}
	return events.New(o.Key.Wanted(), o.Desired.Seq, t, cause, events.State{
		Object: raw, UID: uid, Changed: changed, Previous: o.Desired.Seq,
	})
}

// Removed proposes that an object is no more; t is a terminal type.
func Removed(o *Object, t events.Type, cause events.Ref) events.Proposal {
	return events.New(o.Key.Wanted(), o.Desired.Seq, t, cause, events.State{UID: string(o.UID()), Previous: o.Desired.Seq})
}

func mustEncode(key events.Key, obj runtime.Object) (raw json.RawMessage, uid string) {
	raw, err := DesiredJSON(key.GroupResource(), obj)
	if err == nil {
		m, e := meta.Accessor(obj)
		if err = e; err == nil {
			return raw, string(m.GetUID())
		}
	}
	panic(fmt.Sprintf("encode %s: %v", key, err))
}
