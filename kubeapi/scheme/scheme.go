// Package scheme is the set of Kubernetes kinds that the door serves: their Go
// types, how they are defaulted, converted and selected by field.
//
// The types of k8s.io/api are used as they are, for the wire and inside: there
// is no second set of internal types. The one kind that is served in two
// versions, Event, is converted in events.go.
package scheme

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"periplus.dev/kubeapi/defaults"
)

// Scheme is the kinds and their codecs. It is read only once it is made.
type Scheme struct {
	*runtime.Scheme
	Codecs     serializer.CodecFactory
	Parameters runtime.ParameterCodec
}

// Versions are the API versions that are served, and those that are only used
// inside requests to them (a Scale, an Eviction).
func Versions() []schema.GroupVersion {
	return []schema.GroupVersion{
		corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, coordinationv1.SchemeGroupVersion, eventsv1.SchemeGroupVersion,
		authenticationv1.SchemeGroupVersion, authorizationv1.SchemeGroupVersion, autoscalingv1.SchemeGroupVersion, policyv1.SchemeGroupVersion,
	}
}

// New makes the scheme.
func New() (*Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, coordinationv1.AddToScheme, eventsv1.AddToScheme, authenticationv1.AddToScheme,
		authorizationv1.AddToScheme, autoscalingv1.AddToScheme, policyv1.AddToScheme, addInternal, addEvents, addFields, addQueries,
	} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("make scheme: %w", err)
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	defaults.Register(s)
	return &Scheme{Scheme: s, Codecs: serializer.NewCodecFactory(s), Parameters: runtime.NewParameterCodec(s)}, nil
}

// addInternal makes the external types stand for the internal ones, so that
// decoding for the server's own use converts nothing.
func addInternal(s *runtime.Scheme) error {
	for _, gv := range Versions() {
		hub := schema.GroupVersion{Group: gv.Group, Version: runtime.APIVersionInternal}
		for kind, t := range s.KnownTypes(gv) {
			if !strings.HasPrefix(t.PkgPath(), "k8s.io/api/") || gv == eventsv1.SchemeGroupVersion {
				continue
			}
			obj, ok := reflect.TypeAssert[runtime.Object](reflect.New(t))
			if !ok {
				return fmt.Errorf("%s is no object", t)
			}
			s.AddKnownTypeWithName(hub.WithKind(kind), obj)
		}
	}
	return nil
}

// addFields says by which fields each kind can be selected.
func addFields(s *runtime.Scheme) error {
	for gvk, fields := range map[schema.GroupVersionKind][]string{
		corev1.SchemeGroupVersion.WithKind("Pod"): {
			"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
			"status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
		},
		corev1.SchemeGroupVersion.WithKind("Node"):      {"spec.unschedulable"},
		corev1.SchemeGroupVersion.WithKind("Namespace"): {"status.phase"},
		corev1.SchemeGroupVersion.WithKind("Secret"):    {"type"},
		corev1.SchemeGroupVersion.WithKind("Event"): {
			"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
			"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
		},
		appsv1.SchemeGroupVersion.WithKind("ReplicaSet"): {"status.replicas"},
	} {
		fields = append(fields, "metadata.name", "metadata.namespace")
		err := s.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
			if !slices.Contains(fields, label) {
				return "", "", fmt.Errorf("field label not supported: %s", label)
			}
			return label, value, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
