// Package projections folds the log into the state that the door, the
// reconcilers and the node feed read.
//
// A [World] is that state at one sequence of the log: an immutable value that
// anybody may keep and read without a lock. [World.Fold] takes an event and
// returns the next World with the [Change]s it made; it is a pure function, so
// the same log always gives the same Worlds. An event that was folded before
// changes nothing.
//
// What was asked (metadata, spec) comes from fat events as it is. What was
// observed (status) is folded: a Pod's status from the facts its node recorded,
// a ReplicaSet's from its pods, a Deployment's from its ReplicaSets. One event
// may so change several objects; each gets the event's sequence as its
// resourceVersion. Kubernetes Event objects are folded from the log as well.
//
// A [Projection] holds the newest World for readers that come and go: they can
// wait for a sequence and follow the changes of a table. It starts no goroutine:
// its owner calls [Projection.Fold] with each event.
//
// [World.Encode] and [Decode] carry a World over a restart, and [World.Hash] names
// it by its contents. Whoever changes what a fold means raises [FoldVersion].
//
// Start reading at [World.Fold] in fold.go.
package projections
