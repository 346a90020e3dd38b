package kubeapi

import (
	"fmt"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BenchmarkPods measures creating and reading pods over TLS and protobuf, 16
// clients at once on one connection, client and server in one process.
func BenchmarkPods(b *testing.B) {
	c := start(b, nil)
	client := protobufClient(b, c)
	var n atomic.Int64
	b.Run("create", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := client.CoreV1().Pods("default").Create(b.Context(), onePod(fmt.Sprintf("p%d", n.Add(1))), metav1.CreateOptions{}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("get", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := client.CoreV1().Pods("default").Get(b.Context(), "p1", metav1.GetOptions{}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			list, err := client.CoreV1().Pods("default").List(b.Context(), metav1.ListOptions{})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(len(list.Items)), "pods")
		}
	})
}
