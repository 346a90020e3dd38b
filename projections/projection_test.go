package projections_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"periplus.dev/events"
	"periplus.dev/projections"
)

func configMap(n int) events.Recorded {
	name := fmt.Sprintf("c%d", n)
	k := events.Key{Resource: "configmaps", Namespace: "shop", Name: name}
	p := projections.Created(k, events.TypeOf("configmap", events.FactCreated), events.Ref{},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: types.UID(name)}})
	return events.Recorded{Event: p.Event, Seq: uint64(n), Stored: start}
}

func TestAwaitReturnsTheWorldThatHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := projections.NewProjection(0)
		got := make(chan uint64)
		go func() {
			w, err := p.Await(t.Context(), 2)
			if err != nil {
				t.Error(err)
			}
			got <- w.Seq()
		}()
		synctest.Wait()
		p.Fold(configMap(1), 2)
		synctest.Wait()
		select {
		case seq := <-got:
			t.Fatalf("returned at %d", seq)
		default:
		}
		p.Fold(configMap(2), 2)
		if seq := <-got; seq != 2 {
			t.Errorf("world at %d, want 2", seq)
		}
	})
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := projections.NewProjection(0).Await(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
}

func TestCaughtUpAtTheHeadKnownThen(t *testing.T) {
	p := projections.NewProjection(0)
	isCaughtUp := func() bool {
		select {
		case <-p.CaughtUp():
			return true
		default:
			return false
		}
	}
	p.CaughtUpAt(2)
	p.Fold(configMap(1), 2)
	if isCaughtUp() {
		t.Error("caught up before the head")
	}
	p.Fold(configMap(2), 2)
	if !isCaughtUp() {
		t.Error("not caught up at the head")
	}
	empty := projections.NewProjection(0)
	empty.CaughtUpAt(0)
	select {
	case <-empty.CaughtUp():
	default:
		t.Error("an empty log is not caught up")
	}
}

func TestChangesWithinAndBeyondTheWindow(t *testing.T) {
	p := projections.NewProjection(4)
	for n := 1; n <= 20; n++ {
		p.Fold(configMap(n), 20)
	}
	changes, next, err := p.Changes("configmaps", 18)
	if err != nil || len(changes) != 2 || changes[0].Seq != 19 {
		t.Fatalf("changes after 18 = %v, %v", changes, err)
	}
	if _, _, err := p.Changes("configmaps", 1); !errors.Is(err, projections.ErrExpired) {
		t.Errorf("changes long ago: %v, want ErrExpired", err)
	}
	p.Fold(configMap(21), 21)
	<-next
	if changes, _, err := p.Changes("pods", 0); err != nil || len(changes) != 0 {
		t.Errorf("changes of a table that has none = %v, %v", changes, err)
	}
}

// What happened before the World that a projection starts from cannot be followed;
// what comes after it can, and reads as if it had always been folded here.
func TestProjectionFromAWorld(t *testing.T) {
	before := projections.NewProjection(0)
	for n := 1; n <= 3; n++ {
		before.Fold(configMap(n), 5)
	}
	p := projections.ProjectionFrom(before.Current(), 0)
	for _, table := range []string{"", "configmaps", "pods"} {
		if _, _, err := p.Changes(table, 2); !errors.Is(err, projections.ErrExpired) {
			t.Errorf("changes of %q after 2: %v, want ErrExpired", table, err)
		}
		if changes, _, err := p.Changes(table, 3); err != nil || len(changes) != 0 {
			t.Errorf("changes of %q after 3: %v, %v", table, changes, err)
		}
	}
	p.Fold(configMap(3), 5) // delivered again
	p.Fold(configMap(4), 5)
	changes, _, err := p.Changes("configmaps", 3)
	if err != nil || len(changes) != 1 || changes[0].Seq != 4 {
		t.Errorf("changes after 3: %v, %v", changes, err)
	}
	if n := p.Current().Count("configmaps"); n != 4 {
		t.Errorf("%d objects, want 4", n)
	}
	atHead := projections.ProjectionFrom(before.Current(), 0)
	atHead.CaughtUpAt(3)
	select {
	case <-atHead.CaughtUp():
	default:
		t.Error("a World at the head of the log is not caught up")
	}
}
