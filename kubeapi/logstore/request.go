package logstore

import (
	"context"

	"k8s.io/apiserver/pkg/endpoints/request"

	"periplus.dev/events"
)

// Notes are what a client may say about a request besides the object.
type Notes struct {
	Reason string // why, in a person's words
	Trace  string // W3C traceparent
}

type notesKey struct{}

// WithNotes returns a context that carries the notes of a request.
func WithNotes(ctx context.Context, n Notes) context.Context {
	return context.WithValue(ctx, notesKey{}, n)
}

func notesOf(ctx context.Context) Notes {
	n, _ := ctx.Value(notesKey{}).(Notes)
	return n
}

// actorOf is on whose behalf a request is made. Requests without a user come
// from the server itself.
func actorOf(ctx context.Context) events.Actor {
	if u, ok := request.UserFrom(ctx); ok && u.GetName() != "" {
		return events.ActorOf(u.GetName())
	}
	return events.ActorOf("system:apiserver")
}

// subresourceOf is the subresource that a request is about. Requests that act
// on an object through another one (a scale on its deployment) count as being
// about the object.
func subresourceOf(ctx context.Context) string {
	if info, ok := request.RequestInfoFrom(ctx); ok {
		return info.Subresource
	}
	return ""
}
