// Package jetstream is the log on NATS JetStream: the embedded server, the log
// itself, and the feed of the nodes. It is the only package that knows NATS.
//
// What it promises is [events.Log]. What keeps the promise:
//
//   - One subject per object and half. Every append names the last sequence of
//     its subject that its author had seen; the server refuses it otherwise. An
//     append of several events is one atomic batch.
//   - The server acknowledges a message after fsync, unless [Config.SyncInterval]
//     says otherwise.
//   - The answer to an append may be lost, its effect not: on a refusal the
//     appender looks whether the event is already there, by its id.
//   - Readers trust the subject, which the server checks, and never the header:
//     a message that does not fit its subject is passed over, counted and logged.
//
// One event is one message: a CloudEvent in binary mode, attributes as headers
// (envelope.go), the payload as the body.
//
// Nothing here may subscribe to the log's own subjects with core NATS: that also
// delivers what the stream then refuses.
//
// Start reading at [Start] and [Open], then append.go and read.go.
package jetstream
