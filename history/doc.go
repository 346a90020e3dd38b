// Package history reads the log for people: what happened to an object, why it
// happened, and what each event says in one sentence.
//
// Everything here is a pure function of recorded events. Who fetches the events
// is elsewhere: history/serve answers HTTP requests with them, and the command
// line prints what it answers.
//
// An [Entry] is one event as scripts see it; its JSON keys are stable. A [Told]
// adds the sentence that people see. [Why] walks from an effect to its cause and
// on, until nothing caused it; [Life] finds the event that is worth asking about
// when only the object is known.
package history
