// Package events is the vocabulary of Periplus: every fact that can be
// recorded, how it is named and addressed, and what a log must promise.
//
// A fact is proposed, then recorded. A [Proposal] is what its author believes
// should be appended, together with the last sequence the author had folded for
// the same subject; the log turns it into a [Recorded] event with a sequence
// number, which is also the Kubernetes resourceVersion, or refuses it with
// [ErrConflict] because the object has moved on since the author looked.
//
// Each object has two halves with a subject each: what was asked ([Desired]:
// metadata and spec) and what was observed ([Actual]: status). Facts about the
// desired half are fat ([State]: the whole half after the change), so that one
// event per object is enough to read the past. Observations and decisions are
// thin.
//
// Each type has exactly one owner, the component that alone may append it; see
// [Lookup]. Types are added, never changed: a new meaning is a new type.
//
// The package does no I/O and reads no clock. Start reading at [Event], then
// types.go.
package events
