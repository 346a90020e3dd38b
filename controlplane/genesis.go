package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"periplus.dev/events"
)

// ClusterKey names the object that stands for the cluster itself.
func ClusterKey() events.Key {
	return events.Key{Group: "periplus.dev", Resource: "clusters", Name: "periplus"}
}

// Initialize records the first event of an empty log: the cluster exists. A log
// that has events is left alone. by is who started the cluster.
func Initialize(ctx context.Context, log Log, now time.Time, newID func() string, by events.Actor) error {
	head, err := log.Head(ctx)
	if err != nil {
		return fmt.Errorf("read head of the log: %w", err)
	}
	if head > 0 {
		return nil
	}
	id := newID()
	object, err := json.Marshal(map[string]any{
		"apiVersion": "periplus.dev/v1", "kind": "Cluster",
		"metadata": map[string]any{"name": ClusterKey().Name, "uid": id, "creationTimestamp": now.UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return fmt.Errorf("encode cluster: %w", err)
	}
	p := events.New(ClusterKey().Wanted(), 0, events.ClusterInitialized, events.Ref{}, events.State{Object: object, UID: id})
	p.ID, p.Time, p.Source, p.Actor, p.Change = id, now.UTC(), events.DoorSource, by, id
	if _, err := AppendSure(ctx, log, p); err != nil && !errors.Is(err, events.ErrConflict) {
		return fmt.Errorf("initialize the cluster: %w", err)
	}
	return nil
}
