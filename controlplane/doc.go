// Package controlplane gives time and goroutines to what the other packages
// decide without them.
//
// [Follow] folds the log into a Projection. A [Runner] asks one reconciler and
// appends what it proposes. The [Feeder] hands each node what it needs for its
// work. Each is one loop of one goroutine, started by the caller, that ends with
// its context; a wake-up carries no data, so a lost or doubled one does no harm.
package controlplane
