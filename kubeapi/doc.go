// Package kubeapi is the door: the Kubernetes API over the log.
//
// It is k8s.io/apiserver's generic server with three things of our own behind
// it: storage that reads the projection and appends events (logstore), the kinds
// and the requests that are commands (kinds), and the name that each request
// gets as an event (classify). Clients need not know that there is a log: TLS,
// discovery, OpenAPI, all kinds of patch, server-side apply, watches and tables
// are those of Kubernetes.
//
// A request becomes at most one event per object. It is answered when the event
// is durable and folded, so that who wrote it reads it. Reconcilers and node
// agents do not come through here.
//
// Besides what Kubernetes clients send, a request may carry a header
// [ReasonHeader] with a person's words, which the event keeps, and a W3C
// traceparent.
//
// Start reading at [New].
package kubeapi
