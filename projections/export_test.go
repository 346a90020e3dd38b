package projections

import "fmt"

// Insides lists everything that a World looks objects up by.
func Insides(w *World) []string {
	var all []string
	index := w.index.Root().Iterator()
	for k, key, ok := index.Next(); ok; k, key, ok = index.Next() {
		all = append(all, fmt.Sprintf("%q: %v", k, key))
	}
	gone := w.gone.Root().Iterator()
	for uid, ref, ok := gone.Next(); ok; uid, ref, ok = gone.Next() {
		all = append(all, fmt.Sprintf("%q left at %v", uid, ref))
	}
	loads := w.loads.Root().Iterator()
	for node, l, ok := loads.Next(); ok; node, l, ok = loads.Next() {
		all = append(all, fmt.Sprintf("%q takes %v", node, l))
	}
	return append(all, fmt.Sprint(w.counts))
}
