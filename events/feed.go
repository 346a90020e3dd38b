package events

import (
	"context"
	"encoding/json"
)

// Kinds of feed items.
const (
	FeedPods       = "pods"
	FeedConfigMaps = "configmaps"
	FeedSecrets    = "secrets"
	FeedSynced     = "synced" // says that every item of the node as of Seq has been put; UID is the node's name
)

// FeedItem is one object that a node needs for its work, in full. The feed is
// derived from the log and holds no truth: it lives in memory and is rebuilt.
type FeedItem struct {
	Kind   string          `json:"kind"`
	UID    string          `json:"uid"`
	Seq    uint64          `json:"seq"`              // sequence of the World it was taken from
	Object json.RawMessage `json:"object,omitempty"` // the object with status, as Kubernetes JSON; Secrets in the clear
	Gone   bool            `json:"gone,omitempty"`   // the object is no more, or no longer this node's

	// Desired is the last event of the object's desired half, and Observed the
	// last that this node recorded of it: what the node's next facts refer to.
	// For FeedSynced, Desired is the first event of the log.
	Desired  Ref `json:"desired"`
	Observed Ref `json:"observed"`
}

// FeedWriter is the control plane's end of the feed.
type FeedWriter interface {
	// Put replaces the item of the same node, kind and uid.
	Put(ctx context.Context, node string, item FeedItem) error
}

// FeedReader is a node's end of the feed.
type FeedReader interface {
	// Follow calls fn with every item of the node as it is now, then with each
	// change as it comes, until ctx ends or fn returns an error, which Follow
	// returns. An item may come more than once; a later one is never older.
	Follow(ctx context.Context, node string, fn func(FeedItem) error) error
}
