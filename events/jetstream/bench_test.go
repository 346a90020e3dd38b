package jetstream_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

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

// BenchmarkAppendToRaw compares appends with plain JetStream publishes of the
// same bytes on the same server, in turns, so that a busy disk slows both.
func BenchmarkAppendToRaw(b *testing.B) {
	for _, test := range []struct {
		name     string
		interval time.Duration
		join     int
	}{{"sync", 0, 0}, {"interval 1s", time.Second, -1}} {
		for _, writers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/%d writers", test.name, writers), func(b *testing.B) {
				s := start(b, jetstream.Config{SyncInterval: test.interval})
				l := open(b, s, jetstream.LogConfig{JoinFrom: test.join})
				raw := rawPublisher(b, s)
				var n atomic.Int64
				var ours, theirs []float64
				for b.Loop() {
					for range 5 {
						theirs = append(theirs, rate(b, writers, func() error { return raw(n.Add(1)) }))
						ours = append(ours, rate(b, writers, func() error {
							_, err := l.Append(b.Context(), created(fmt.Sprint("c", n.Add(1)), events.FactCreated, 0))
							return err
						}))
					}
				}
				slices.Sort(ours)
				slices.Sort(theirs)
				b.ReportMetric(ours[len(ours)/2], "appends/s")
				b.ReportMetric(theirs[len(theirs)/2], "publishes/s")
				b.ReportMetric(ours[len(ours)/2]/theirs[len(theirs)/2], "ratio")
			})
		}
	}
}

// eventBytes is what an event of this benchmark has in headers and payload.
const eventBytes = 560

// rate has writers work for a while and returns how often all of them together
// have done it a second.
func rate(b *testing.B, writers int, do func() error) float64 {
	b.Helper()
	const each = 300 * time.Millisecond
	began := time.Now()
	var g errgroup.Group
	var n atomic.Int64
	for range writers {
		g.Go(func() error {
			for time.Since(began) < each {
				if err := do(); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(n.Load()) / time.Since(began).Seconds()
}

// rawPublisher publishes a message of the size of an event, and waits for its
// acknowledgement, into a stream without anything that a log asks for.
func rawPublisher(b *testing.B, s *jetstream.Server) func(n int64) error {
	b.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(jetstream.InProcess(s)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	api, err := js.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	_, err = api.CreateStream(b.Context(), js.StreamConfig{Name: "RAW", Subjects: []string{"raw.>"}, Storage: js.FileStorage})
	if err != nil {
		b.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), eventBytes)
	return func(n int64) error {
		_, err := api.Publish(b.Context(), fmt.Sprint("raw.obj.core.configmaps.default.c", n), data)
		return err
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
