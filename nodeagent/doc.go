// Package nodeagent carries out what its node was assigned and records what
// happened.
//
// It learns what is wanted from the feed and what is from the runtime, and keeps
// nothing of its own: killed at any moment and started again, it goes on from
// there. Both only wake it; each pod has a worker that looks at what is known,
// asks package lifecycle what to do, does one thing at a time and appends the
// facts that follow, each with the fact that led to it as its cause.
//
//	feed ----> worker(pod) --lifecycle.Next--> runtime
//	-> worker(pod) <-lifecycle.Observe- outcome
//	           worker(pod) --facts, in order--> log
//
// An agent that cannot reach the log keeps its pods running, and records later
// what happened meanwhile, with the time at which it happened.
//
// Goroutines: five for the agent, and for a pod only while there is something to
// do: its worker, one action and one append. Start reading at [Agent.Run], then
// worker.go.
package nodeagent
