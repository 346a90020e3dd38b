package projections

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tidwall/gjson"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// half is a desired half as recorded. What every fold needs of it is read at
// once; the rest is decoded when it is first asked for.
type half struct {
	raw  json.RawMessage
	head head

	once  sync.Once
	value runtime.Object

	hashOnce sync.Once
	hash     string // see templateHash

	shapeOnce sync.Once
	podShape  podShape

	usageOnce sync.Once
	usage     Usage
}

// head is what folds and indexes need of every desired half.
type head struct {
	Kind     string
	Metadata headMetadata
	NodeName string // spec.nodeName
}

type headMetadata struct {
	UID               types.UID
	Labels            map[string]string
	Annotations       map[string]string
	OwnerReferences   []metav1.OwnerReference
	CreationTimestamp metav1.Time
	DeletionTimestamp *metav1.Time
}

// newHalf reads a desired half. It keeps raw.
func newHalf(raw json.RawMessage) (*half, error) {
	if !gjson.ValidBytes(raw) {
		return nil, errors.New("decode desired half: not JSON")
	}
	h := &half{raw: raw}
	var err error
	gjson.ParseBytes(raw).ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "kind":
			h.head.Kind = v.Str
		case "metadata":
			err = h.head.Metadata.read(v)
		case "spec":
			h.head.NodeName = v.Get("nodeName").Str
		}
		return err == nil
	})
	if err != nil {
		return nil, fmt.Errorf("decode desired half: %w", err)
	}
	return h, nil
}

func (m *headMetadata) read(metadata gjson.Result) (err error) {
	metadata.ForEach(func(k, v gjson.Result) bool {
		switch k.Str {
		case "uid":
			m.UID = types.UID(v.Str)
		case "labels":
			m.Labels = stringMap(v)
		case "annotations":
			m.Annotations = stringMap(v)
		case "ownerReferences":
			err = json.Unmarshal([]byte(v.Raw), &m.OwnerReferences)
		case "creationTimestamp":
			m.CreationTimestamp, err = timestamp(v)
		case "deletionTimestamp":
			var t metav1.Time
			if t, err = timestamp(v); err == nil && !t.IsZero() {
				m.DeletionTimestamp = &t
			}
		}
		return err == nil
	})
	return err
}

func timestamp(v gjson.Result) (metav1.Time, error) {
	if v.Type != gjson.String {
		return metav1.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, v.Str)
	return metav1.NewTime(t), err
}

func stringMap(v gjson.Result) map[string]string {
	if !v.IsObject() {
		return nil
	}
	m := map[string]string{}
	v.ForEach(func(k, v gjson.Result) bool {
		m[k.Str] = v.Str
		return true
	})
	return m
}

// decode returns the desired half as a Kubernetes object without TypeMeta. A
// half that does not fit its Go type is an empty object: the door validates
// before it records, so this is a forged or foreign event.
func (h *half) decode(table string) runtime.Object {
	h.once.Do(func() {
		h.value = newValue(table)
		if err := json.Unmarshal(h.raw, h.value); err != nil {
			h.value = newValue(table)
		}
		if _, typed := kindOf(table); typed {
			h.value.GetObjectKind().SetGroupVersionKind(gvkNone)
		}
	})
	return h.value
}

// podShape is what the fold of a pod's facts needs of its spec.
type podShape struct {
	policy     corev1.RestartPolicy
	containers []string
	inits      []initShape
}

type initShape struct {
	name    string
	sidecar bool // goes on beside the others (KEP-753)
}

// shape is the pod's shape; empty for any other kind.
func (h *half) shape() podShape {
	h.shapeOnce.Do(func() {
		spec := gjson.GetBytes(h.raw, "spec")
		h.podShape.policy = corev1.RestartPolicy(spec.Get("restartPolicy").Str)
		spec.Get("containers").ForEach(func(_, c gjson.Result) bool {
			h.podShape.containers = append(h.podShape.containers, c.Get("name").Str)
			return true
		})
		spec.Get("initContainers").ForEach(func(_, c gjson.Result) bool {
			sidecar := c.Get("restartPolicy").Str == string(corev1.ContainerRestartPolicyAlways)
			h.podShape.inits = append(h.podShape.inits, initShape{c.Get("name").Str, sidecar})
			return true
		})
	})
	return h.podShape
}

// created is the creation time in the desired half.
func (h *half) created() time.Time { return h.head.Metadata.CreationTimestamp.Time }
