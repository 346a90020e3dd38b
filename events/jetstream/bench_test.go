package jetstream_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"periplus.dev/events"
	"periplus.dev/events/jetstream"
)

// BenchmarkAppend measures events on disk: one writer, writers at once, which
// are joined, and the same without joining, batches, and a lazy disk.
func BenchmarkAppend(b *testing.B) {
	for _, test := range []struct {
		name    string
		writers int // per core
		batch   int
		join    int
		lazy    time.Duration
	}{
		{"sync always/1 writer", 0, 1, 0, 0},
		{"sync always/32 writers", 16, 1, 0, 0},
		{"sync always/32 writers, never joined", 16, 1, -1, 0},
		{"sync always/batch of 10", 0, 10, 0, 0},
		{"sync always/batch of 100", 0, 100, 0, 0},
		{"sync 1s/1 writer", 0, 1, -1, time.Second},
		{"sync 1s/32 writers", 16, 1, -1, time.Second},
	} {
		b.Run(test.name, func(b *testing.B) {
			l := open(b, start(b, jetstream.Config{SyncInterval: test.lazy}), jetstream.LogConfig{JoinFrom: test.join})
			var n atomic.Int64
			add := func() {
				ps := make([]events.Proposal, test.batch)
				for i := range ps {
					ps[i] = created(fmt.Sprint("c", n.Add(1)), events.FactCreated, 0)
				}
				if _, err := l.Append(b.Context(), ps...); err != nil {
					b.Error(err)
				}
			}
			b.ReportAllocs()
			if test.writers > 0 {
				b.SetParallelism(test.writers)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						add()
					}
				})
			} else {
				for b.Loop() {
					add()
				}
			}
			b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkRead measures the replay of 10,000 events.
func BenchmarkRead(b *testing.B) {
	const events10k = 10_000
	l := open(b, start(b, jetstream.Config{}), jetstream.LogConfig{})
	for n := 0; n < events10k; n += 1000 {
		ps := make([]events.Proposal, 1000)
		for i := range ps {
			ps[i] = created(fmt.Sprint("c", n+i), events.FactCreated, 0)
		}
		if _, err := l.Append(b.Context(), ps...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		err := l.Read(b.Context(), 1, func(r events.Recorded, _ uint64) error {
			if r.Seq == events10k {
				return errDone
			}
			return nil
		})
		if !errors.Is(err, errDone) {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*events10k/b.Elapsed().Seconds(), "events/s")
}
