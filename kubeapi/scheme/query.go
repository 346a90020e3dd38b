package scheme

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// addQueries reads the options that come in the query of a request.
func addQueries(s *runtime.Scheme) error {
	for _, err := range []error{
		query(s, func(q *values, o *corev1.PodLogOptions) {
			o.Container, o.Follow, o.Previous, o.Timestamps = q.text("container"), q.flag("follow"), q.flag("previous"), q.flag("timestamps")
			o.SinceSeconds, o.TailLines, o.LimitBytes = q.number("sinceSeconds"), q.number("tailLines"), q.number("limitBytes")
			o.SinceTime, o.InsecureSkipTLSVerifyBackend = q.time("sinceTime"), q.flag("insecureSkipTLSVerifyBackend")
			if q.Has("stream") {
				stream := q.text("stream")
				o.Stream = &stream
			}
		}),
		query(s, func(q *values, o *corev1.PodExecOptions) {
			o.Container, o.Command = q.text("container"), q.Values["command"]
			o.Stdin, o.Stdout, o.Stderr, o.TTY = q.flag("stdin"), q.flag("stdout"), q.flag("stderr"), q.flag("tty")
		}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func query[T any, P interface {
	*T
	runtime.Object
}](s *runtime.Scheme, read func(*values, P)) error {
	return s.AddConversionFunc((*url.Values)(nil), P(new(T)), func(a, b any, _ conversion.Scope) error {
		in, okIn := a.(*url.Values)
		out, okOut := b.(P)
		if !okIn || !okOut {
			return fmt.Errorf("convert %T to %T: not a query", a, b)
		}
		q := &values{Values: *in}
		read(q, out)
		return q.err
	})
}

// values reads a query and keeps the first error.
type values struct {
	url.Values
	err error
}

func (v *values) text(name string) string { return v.Get(name) }

// flag is true for a name without a value and for any value but false and 0.
func (v *values) flag(name string) bool {
	return v.Has(name) && v.Get(name) != "false" && v.Get(name) != "0"
}

func (v *values) number(name string) *int64 {
	if v.Get(name) == "" {
		return nil
	}
	n, err := strconv.ParseInt(v.Get(name), 10, 64)
	if err != nil {
		v.fail(name, err)
		return nil
	}
	return &n
}

func (v *values) time(name string) *metav1.Time {
	if v.Get(name) == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339, v.Get(name))
	if err != nil {
		v.fail(name, err)
		return nil
	}
	return &metav1.Time{Time: t}
}

func (v *values) fail(name string, err error) {
	if v.err == nil {
		v.err = fmt.Errorf("query parameter %s: %w", name, err)
	}
}
