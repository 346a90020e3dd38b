// Package snapshots keeps Worlds in files, so that a start need not fold the
// whole log.
//
// A snapshot is never the truth: whatever speaks against it, it is passed over,
// and the log is folded instead. A file SEQUENCE.snap (20 digits) is a header of
// 512 bytes and the state as [projections.World.Encode] writes it. The header is
// one line of JSON, filled up with spaces:
//
//	format       the layout of the file, [Format]
//	foldVersion  what folds meant, [projections.FoldVersion]
//	seq          the last event that was folded
//	id           the id of that event
//	bytes        the length of the state
//	sha256       of the state, in hexadecimal
//
// A file is written under another name, synced, and then named, so that a crash
// leaves no half of one; the newest two stay. Secret values in it are sealed as
// they are in the log; the files are their owner's alone all the same.
//
// Start reading at [Store.Load].
package snapshots
