// Package tables renders objects as the tables that kubectl get prints: the
// columns, the wide ones among them, and the words in them are those of
// Kubernetes.
//
// Start reading at [For], which has the columns of every kind.
package tables

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Table makes a table of one kind. It is a rest.TableConvertor of
// k8s.io/apiserver.
type Table struct {
	columns []metav1.TableColumnDefinition
	row     func(obj runtime.Object, now time.Time) []any
	now     func() time.Time
}

// For is the table of a resource ("pods", "deployments.apps"); one that is not
// known by name has the columns Name and Age.
func For(groupResource string, now func() time.Time) *Table {
	t := &Table{now: now}
	switch groupResource {
	case "pods":
		t.columns = columns("Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*", "Readiness Gates*")
		t.row = typed(pod)
	case "deployments.apps":
		t.columns = columns("Ready", "Up-to-date#", "Available#", "Age", "Containers*", "Images*", "Selector*")
		t.row = typed(deployment)
	case "replicasets.apps":
		t.columns = columns("Desired#", "Current#", "Ready#", "Age", "Containers*", "Images*", "Selector*")
		t.row = typed(replicaSet)
	case "nodes":
		t.columns = columns("Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*", "OS-Image*", "Kernel-Version*", "Container-Runtime*")
		t.row = typed(node)
	case "namespaces":
		t.columns = columns("Status", "Age")
		t.row = typed(func(n *corev1.Namespace, now time.Time) []any {
			return []any{n.Name, string(n.Status.Phase), since(n.CreationTimestamp, now)}
		})
	case "configmaps":
		t.columns = columns("Data#", "Age")
		t.row = typed(func(c *corev1.ConfigMap, now time.Time) []any {
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), since(c.CreationTimestamp, now)}
		})
	case "secrets":
		t.columns = columns("Type", "Data#", "Age")
		t.row = typed(func(s *corev1.Secret, now time.Time) []any {
			return []any{s.Name, string(s.Type), int64(len(s.Data)), since(s.CreationTimestamp, now)}
		})
	case "serviceaccounts":
		t.columns = columns("Secrets#", "Age")
		t.row = typed(func(s *corev1.ServiceAccount, now time.Time) []any {
			return []any{s.Name, int64(len(s.Secrets)), since(s.CreationTimestamp, now)}
		})
	case "events":
		t.columns = define("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*", "Count*#", "Name*")
		t.row = typed(event)
	case "leases.coordination.k8s.io":
		t.columns = columns("Holder", "Age")
		t.row = typed(lease)
	default:
		t.columns, t.row = columns("Age"), anything
	}
	return t
}

// columns starts a table with the name of the object.
func columns(specs ...string) []metav1.TableColumnDefinition {
	return define(append([]string{"Name"}, specs...)...)
}

// define reads column names; a star marks a wide column, a hash after it a number.
func define(specs ...string) []metav1.TableColumnDefinition {
	docs := descriptions()
	var out []metav1.TableColumnDefinition
	for _, spec := range specs {
		c := metav1.TableColumnDefinition{Type: "string"}
		name, number := strings.CutSuffix(spec, "#")
		if number {
			c.Type = "integer"
		}
		name, wide := strings.CutSuffix(name, "*")
		if wide {
			c.Priority = 1
		}
		c.Name, c.Description = name, docs[name]
		if name == "Name" {
			c.Format = "name"
		}
		out = append(out, c)
	}
	return out
}

func descriptions() map[string]string {
	d := metav1.ObjectMeta{}.SwaggerDoc()
	return map[string]string{"Name": d["name"], "Age": d["creationTimestamp"]}
}

// typed is a row function for one Go type; another type has only a name and an age.
func typed[T runtime.Object](fn func(T, time.Time) []any) func(runtime.Object, time.Time) []any {
	return func(obj runtime.Object, now time.Time) []any {
		if o, ok := obj.(T); ok {
			return fn(o, now)
		}
		return anything(obj, now)
	}
}

func anything(obj runtime.Object, now time.Time) []any {
	m, err := meta.Accessor(obj)
	if err != nil {
		return []any{"<unknown>", "<unknown>"}
	}
	return []any{m.GetName(), since(m.GetCreationTimestamp(), now)}
}

// ConvertToTable renders one object or a list.
func (t *Table) ConvertToTable(_ context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	now := t.now()
	add := func(item runtime.Object) error {
		out.Rows = append(out.Rows, metav1.TableRow{Cells: t.row(item, now), Object: runtime.RawExtension{Object: item}})
		return nil
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.Accessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	var err error
	if meta.IsListType(obj) {
		err = meta.EachListItem(obj, add)
	} else {
		err = add(obj)
	}
	if err != nil {
		return nil, fmt.Errorf("render table: %w", err)
	}
	if o, ok := options.(*metav1.TableOptions); !ok || !o.NoHeaders {
		out.ColumnDefinitions = t.columns
	}
	return out, nil
}

const none, unknown = "<none>", "<unknown>"

// since is the age of a time: "5m", "<unknown>" if there is none.
func since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}

func deployment(d *appsv1.Deployment, now time.Time) []any {
	names, images := containers(d.Spec.Template.Spec.Containers)
	return []any{
		d.Name, fmt.Sprintf("%d/%d", d.Status.ReadyReplicas, value(d.Spec.Replicas)), int64(d.Status.UpdatedReplicas),
		int64(d.Status.AvailableReplicas), since(d.CreationTimestamp, now), names, images, metav1.FormatLabelSelector(d.Spec.Selector),
	}
}

func replicaSet(r *appsv1.ReplicaSet, now time.Time) []any {
	names, images := containers(r.Spec.Template.Spec.Containers)
	return []any{
		r.Name, int64(value(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas),
		since(r.CreationTimestamp, now), names, images, metav1.FormatLabelSelector(r.Spec.Selector),
	}
}

func value(n *int32) int32 {
	if n == nil {
		return 0
	}
	return *n
}

func lease(l *coordinationv1.Lease, now time.Time) []any {
	holder := ""
	if l.Spec.HolderIdentity != nil {
		holder = *l.Spec.HolderIdentity
	}
	return []any{l.Name, holder, since(l.CreationTimestamp, now)}
}
