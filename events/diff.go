package events

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Paths lists the fields that differ between two JSON objects, sorted, such as
// "spec.replicas" or "spec.template.spec.containers[0].image". A field that is
// in only one of them is listed itself, not what is below it. Keys with dots are
// written in quotes: metadata.labels["app.kubernetes.io/name"]. Bookkeeping that
// follows from the change itself is left out: metadata.managedFields,
// metadata.resourceVersion and metadata.generation.
func Paths(before, after json.RawMessage) []string {
	var a, b any
	if len(before) > 0 && json.Unmarshal(before, &a) != nil || len(after) > 0 && json.Unmarshal(after, &b) != nil {
		return nil
	}
	var out []string
	diff("", a, b, &out)
	slices.Sort(out)
	return out
}

var bookkeeping = map[string]bool{"metadata.managedFields": true, "metadata.resourceVersion": true, "metadata.generation": true}

func diff(path string, a, b any, out *[]string) {
	if bookkeeping[path] || reflect.DeepEqual(a, b) {
		return
	}
	am, aIsMap := a.(map[string]any)
	bm, bIsMap := b.(map[string]any)
	if aIsMap && bIsMap {
		for _, k := range slices.Sorted(maps.Keys(am)) {
			diff(join(path, k), am[k], bm[k], out)
		}
		for _, k := range slices.Sorted(maps.Keys(bm)) {
			if _, both := am[k]; !both {
				diff(join(path, k), nil, bm[k], out)
			}
		}
		return
	}
	al, aIsList := a.([]any)
	bl, bIsList := b.([]any)
	if aIsList && bIsList && len(al) == len(bl) {
		for i := range al {
			diff(path+"["+strconv.Itoa(i)+"]", al[i], bl[i], out)
		}
		return
	}
	*out = append(*out, path)
}

func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, ".[]\""):
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	default:
		return path + "." + key
	}
}
