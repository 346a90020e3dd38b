package jetstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	js "github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

func (c LogConfig) stream() js.StreamConfig {
	keep := int64(-1)
	if c.KeepLast > 0 {
		keep = int64(c.KeepLast)
	}
	s := js.StreamConfig{
		Name:               c.Stream,
		Subjects:           []string{c.Prefix + ".>"},
		Storage:            js.FileStorage,
		Replicas:           c.Replicas,
		Retention:          js.LimitsPolicy,
		Discard:            js.DiscardNew,
		MaxConsumers:       -1,
		MaxMsgs:            -1,
		MaxBytes:           -1,
		MaxMsgSize:         maxMessageBytes,
		MaxMsgsPerSubject:  keep,
		Duplicates:         duplicateWindow,
		AllowDirect:        true,
		AllowAtomicPublish: true,
		DenyDelete:         true,
		DenyPurge:          true,
	}
	if c.Live != "" {
		s.RePublish = &js.RePublish{Source: c.Prefix + ".>", Destination: c.Live + ".>"}
	}
	return s
}

// openStream makes the stream, or makes sure that the one that is there can hold
// a log. What an operator may choose is left as it is: replicas, placement, size
// limit, compression, description.
func openStream(ctx context.Context, api js.JetStream, want js.StreamConfig, log *zap.Logger) (js.Stream, error) {
	have, err := api.Stream(ctx, want.Name)
	if errors.Is(err, js.ErrStreamNotFound) {
		return api.CreateStream(ctx, want)
	}
	if err != nil {
		return nil, err
	}
	set := have.CachedInfo().Config
	differences := adopt(&set, want)
	if len(differences) == 0 {
		return have, nil
	}
	what := strings.Join(differences, ", ")
	changed, err := api.UpdateStream(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("the stream is there with other settings (%s), which cannot be changed: %w", what, err)
	}
	log.Info("stream settings were changed", zap.String("stream", want.Name), zap.String("settings", what))
	return changed, nil
}

// adopt sets what a log depends on and says what was otherwise.
func adopt(set *js.StreamConfig, want js.StreamConfig) []string {
	size := want.MaxMsgSize
	if set.MaxMsgSize == -1 || set.MaxMsgSize > size {
		size = set.MaxMsgSize // larger ones do no harm
	}
	return slices.DeleteFunc([]string{
		put("subjects", &set.Subjects, want.Subjects),
		put("storage", &set.Storage, want.Storage),
		put("retention", &set.Retention, want.Retention),
		put("discard", &set.Discard, want.Discard),
		put("maximum age", &set.MaxAge, want.MaxAge),
		put("maximum of messages", &set.MaxMsgs, want.MaxMsgs),
		put("maximum of messages of a subject", &set.MaxMsgsPerSubject, want.MaxMsgsPerSubject),
		put("maximum message size", &set.MaxMsgSize, size),
		put("duplicate window", &set.Duplicates, want.Duplicates),
		put("republish", &set.RePublish, want.RePublish),
		put("direct get", &set.AllowDirect, want.AllowDirect),
		put("atomic publish", &set.AllowAtomicPublish, want.AllowAtomicPublish),
		put("deny delete", &set.DenyDelete, want.DenyDelete),
		put("deny purge", &set.DenyPurge, want.DenyPurge),
		put("rollup", &set.AllowRollup, false),
		put("message expiry", &set.AllowMsgTTL, false),
		put("no acknowledgements", &set.NoAck, false),
		put("sealed", &set.Sealed, false),
		put("mirror", &set.Mirror, nil),
		put("sources", &set.Sources, nil),
		put("transform", &set.SubjectTransform, nil),
	}, func(difference string) bool { return difference == "" })
}

// put sets a value and says what it was, if it was another.
func put[T any](name string, have *T, want T) string {
	if reflect.DeepEqual(*have, want) {
		return ""
	}
	was := *have
	*have = want
	return fmt.Sprintf("%s is %s, want %s", name, show(was), show(want))
}

func show(v any) string {
	if r, ok := v.(*js.RePublish); ok {
		if r == nil {
			return "none"
		}
		return r.Source + " to " + r.Destination
	}
	return fmt.Sprint(v)
}
