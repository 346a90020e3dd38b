package kinds

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// namespaceREST is the registry of namespaces. A namespace that is deleted is
// only marked: it goes when its content is gone. Namespaces cannot be deleted
// all at once.
type namespaceREST struct {
	rest.Getter
	rest.Lister
	rest.Watcher
	rest.CreaterUpdater
	store *objectREST
}

var (
	_ rest.GracefulDeleter      = (*namespaceREST)(nil)
	_ rest.SingularNameProvider = (*namespaceREST)(nil)
	_ rest.Scoper               = (*namespaceREST)(nil)
)

func newNamespaceREST(r *objectREST) *namespaceREST {
	return &namespaceREST{Getter: r, Lister: r, Watcher: r, CreaterUpdater: r, store: r}
}

// New implements rest.Storage.
func (r *namespaceREST) New() runtime.Object { return r.store.New() }

// Destroy implements rest.Storage.
func (r *namespaceREST) Destroy() { r.store.Destroy() }

// NamespaceScoped implements rest.Scoper.
func (r *namespaceREST) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (r *namespaceREST) GetSingularName() string { return r.store.GetSingularName() }

// ShortNames implements rest.ShortNamesProvider.
func (r *namespaceREST) ShortNames() []string { return r.store.ShortNames() }

// StorageVersion implements rest.StorageVersionProvider.
func (r *namespaceREST) StorageVersion() runtime.GroupVersioner { return r.store.StorageVersion() }

// GetResetFields implements rest.ResetFieldsStrategy.
func (r *namespaceREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.store.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (r *namespaceREST) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, o)
}

// Delete implements rest.GracefulDeleter.
func (r *namespaceREST) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	key, err := r.store.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	pre := storage.Preconditions{}
	if o != nil && o.Preconditions != nil {
		pre.UID, pre.ResourceVersion = o.Preconditions.UID, o.Preconditions.ResourceVersion
	}
	out := &corev1.Namespace{}
	mark := storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
		if validate != nil {
			if err := validate(ctx, existing); err != nil {
				return nil, err
			}
		}
		if n, ok := existing.(*corev1.Namespace); ok && n.DeletionTimestamp == nil {
			now := metav1.Now().Rfc3339Copy()
			n.DeletionTimestamp = &now
		}
		return existing, nil
	})
	if err := r.store.Storage.GuaranteedUpdate(ctx, key, out, false, &pre, mark, o != nil && dryrun.IsDryRun(o.DryRun), nil); err != nil {
		return nil, false, storeerr.InterpretUpdateError(storeerr.InterpretGetError(err, r.store.DefaultQualifiedResource, name), r.store.DefaultQualifiedResource, name)
	}
	return out, false, nil
}
