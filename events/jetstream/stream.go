package jetstream

import (
	"context"
	"errors"
	"fmt"
	"reflect"
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
	var out []string
	differ := func(name string, have, want any) bool {
		if reflect.DeepEqual(have, want) {
			return false
		}
		out = append(out, fmt.Sprintf("%s is %s, want %s", name, show(have), show(want)))
		return true
	}
	if differ("subjects", set.Subjects, want.Subjects) {
		set.Subjects = want.Subjects
	}
	if differ("storage", set.Storage, want.Storage) {
		set.Storage = want.Storage
	}
	if differ("retention", set.Retention, want.Retention) {
		set.Retention = want.Retention
	}
	if differ("discard", set.Discard, want.Discard) {
		set.Discard = want.Discard
	}
	if differ("maximum age", set.MaxAge, want.MaxAge) {
		set.MaxAge = want.MaxAge
	}
	if differ("maximum of messages", set.MaxMsgs, want.MaxMsgs) {
		set.MaxMsgs = want.MaxMsgs
	}
	if differ("maximum of messages of a subject", set.MaxMsgsPerSubject, want.MaxMsgsPerSubject) {
		set.MaxMsgsPerSubject = want.MaxMsgsPerSubject
	}
	if differ("duplicate window", set.Duplicates, want.Duplicates) {
		set.Duplicates = want.Duplicates
	}
	if set.MaxMsgSize != -1 && set.MaxMsgSize < want.MaxMsgSize {
		differ("maximum message size", set.MaxMsgSize, want.MaxMsgSize)
		set.MaxMsgSize = want.MaxMsgSize
	}
	if differ("republish", set.RePublish, want.RePublish) {
		set.RePublish = want.RePublish
	}
	for _, s := range []struct {
		name string
		have *bool
		want bool
	}{
		{"direct get", &set.AllowDirect, want.AllowDirect},
		{"atomic publish", &set.AllowAtomicPublish, want.AllowAtomicPublish},
		{"deny delete", &set.DenyDelete, want.DenyDelete},
		{"deny purge", &set.DenyPurge, want.DenyPurge},
		{"rollup", &set.AllowRollup, false},
		{"message expiry", &set.AllowMsgTTL, false},
		{"no acknowledgements", &set.NoAck, false},
		{"sealed", &set.Sealed, false},
	} {
		if differ(s.name, *s.have, s.want) {
			*s.have = s.want
		}
	}
	if set.Mirror != nil || len(set.Sources) > 0 || set.SubjectTransform != nil {
		differ("mirror, sources or transform", "set", "none")
		set.Mirror, set.Sources, set.SubjectTransform = nil, nil, nil
	}
	return out
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
