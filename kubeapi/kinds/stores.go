package kinds

import (
	"context"
	"fmt"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"periplus.dev/kubeapi/scheme"
	"periplus.dev/kubeapi/tables"
)

// Builder makes what the server installs. All fields are required.
type Builder struct {
	Scheme     *scheme.Scheme
	Storage    func(Kind) storage.Interface // of one kind, with keys below "/GROUP/RESOURCE"
	Nodes      NodeBackend
	Authorizer Authorizer
	Now        func() time.Time
}

// Authorizer decides and explains who may do what.
type Authorizer interface {
	authorizer.UnconditionalAuthorizer
	authorizer.RuleResolver
}

// Prefix is what the storage keys of a kind begin with.
func (k Kind) Prefix() string {
	if k.GVK.Group == "" {
		return "/core/" + k.Resource
	}
	return "/" + k.GVK.Group + "/" + k.Resource
}

// New is an empty object of the kind.
func (k Kind) New() runtime.Object { return k.empty() }

// Groups are the resources of each API version, by their path: "pods",
// "pods/status".
func (b *Builder) Groups() (map[schema.GroupVersion]map[string]rest.Storage, error) {
	out := map[schema.GroupVersion]map[string]rest.Storage{}
	add := func(gv schema.GroupVersion, path string, s rest.Storage) {
		if out[gv] == nil {
			out[gv] = map[string]rest.Storage{}
		}
		out[gv][path] = s
	}
	stores := map[string]*registry.Store{}
	for _, k := range All() {
		store, err := b.store(&k)
		if err != nil {
			return nil, err
		}
		gv := k.GVK.GroupVersion()
		stores[k.Resource] = store
		add(gv, k.Resource, objects(&k, store))
		if k.rules.status != nil {
			add(gv, k.Resource+"/status", b.part(&k, store, statusStrategy{b.strategy(&k)}))
		}
		if k.Resource == "namespaces" {
			add(gv, "namespaces/finalize", b.part(&k, store, finalizeStrategy{b.strategy(&k)}))
		}
	}
	core, apps := corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion
	pods := &podREST{store: stores["pods"], nodes: b.Nodes}
	add(core, "pods/log", &logREST{pods})
	add(core, "pods/exec", &execREST{pods})
	add(core, "pods/binding", &bindingREST{pods})
	add(core, "pods/eviction", &evictionREST{pods})
	add(apps, "deployments/scale", &scaleREST{store: stores["deployments"], of: deploymentScale})
	add(apps, "replicasets/scale", &scaleREST{store: stores["replicasets"], of: replicaSetScale})
	add(eventsv1.SchemeGroupVersion, "events", out[core]["events"])
	add(authorizationv1.SchemeGroupVersion, "selfsubjectaccessreviews", &selfAccessREST{authorizer: b.Authorizer})
	add(authorizationv1.SchemeGroupVersion, "selfsubjectrulesreviews", &selfRulesREST{authorizer: b.Authorizer})
	add(authorizationv1.SchemeGroupVersion, "subjectaccessreviews", &accessREST{authorizer: b.Authorizer})
	add(authenticationv1.SchemeGroupVersion, "selfsubjectreviews", &whoamiREST{now: b.Now})
	if _, ok := out[coordinationv1.SchemeGroupVersion]["leases"]; !ok {
		return nil, fmt.Errorf("build kinds: leases are missing")
	}
	return out, nil
}

func (b *Builder) strategy(k *Kind) strategy {
	return strategy{ObjectTyper: b.Scheme.Scheme, NameGenerator: names.SimpleNameGenerator, kind: k}
}

// store is the registry of one kind.
func (b *Builder) store(k *Kind) (*registry.Store, error) {
	s := b.strategy(k)
	gr := k.GroupResource()
	store := &registry.Store{
		NewFunc: k.empty, NewListFunc: k.emptyList,
		DefaultQualifiedResource:  gr,
		SingularQualifiedResource: schema.GroupResource{Group: k.GVK.Group, Resource: k.Singular},
		CreateStrategy:            s, UpdateStrategy: s, DeleteStrategy: s, ResetFieldsStrategy: s,
		TableConvertor: tables.For(gr.String(), b.Now),
	}
	if k.Resource == "pods" {
		store.DeleteStrategy = podStrategy{s}
		store.ReturnDeletedObject = true
	}
	if k.Resource == "namespaces" {
		store.ShouldDeleteDuringUpdate = func(_ context.Context, _ string, obj, _ runtime.Object) bool {
			n, ok := obj.(*corev1.Namespace)
			return ok && len(n.Spec.Finalizers) == 0
		}
	}
	options := &generic.StoreOptions{RESTOptions: b.restOptions(k), AttrFunc: k.attrs}
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, fmt.Errorf("build registry of %s: %w", gr, err)
	}
	return store, nil
}

// restOptions give the registry our storage. The codec is only used to copy
// objects in dry runs.
func (b *Builder) restOptions(k *Kind) generic.RESTOptions {
	codec := b.Scheme.Codecs.LegacyCodec(k.GVK.GroupVersion())
	config := storagebackend.NewDefaultConfig("/", codec)
	config.EncodeVersioner = k.GVK.GroupVersion()
	kind := *k
	return generic.RESTOptions{
		StorageConfig: config.ForResource(k.GroupResource()), ResourcePrefix: k.Prefix(),
		EnableGarbageCollection: true, DeleteCollectionWorkers: 4,
		Decorator: func(*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object, func() runtime.Object,
			storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers,
		) (storage.Interface, factory.DestroyFunc, error) {
			return b.Storage(kind), func() {}, nil
		},
	}
}

// objectREST is a registry with the names that kubectl knows.
type objectREST struct {
	*registry.Store
	kind *Kind
}

func objects(k *Kind, store *registry.Store) rest.Storage {
	r := &objectREST{Store: store, kind: k}
	if k.Resource == "namespaces" {
		return newNamespaceREST(r)
	}
	return r
}

// ShortNames implements rest.ShortNamesProvider.
func (r *objectREST) ShortNames() []string { return r.kind.Short }

// Categories implements rest.CategoriesProvider.
func (r *objectREST) Categories() []string {
	if r.kind.All {
		return []string{"all"}
	}
	return nil
}

// partREST is a part of an object that is read and updated by itself.
type partREST struct {
	store *registry.Store
	reset rest.ResetFieldsStrategy
}

func (b *Builder) part(_ *Kind, store *registry.Store, s interface {
	rest.RESTUpdateStrategy
	rest.ResetFieldsStrategy
},
) rest.Storage {
	c := *store
	c.UpdateStrategy, c.ResetFieldsStrategy = s, s
	return &partREST{store: &c, reset: s}
}

// New implements rest.Storage.
func (r *partREST) New() runtime.Object { return r.store.NewFunc() }

// Destroy implements rest.Storage; the registry of the object cleans up.
func (r *partREST) Destroy() {}

// Get implements rest.Getter.
func (r *partREST) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return r.store.Get(ctx, name, o)
}

// Update implements rest.Updater; a part of what is not there cannot be created.
func (r *partREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return r.store.Update(ctx, name, info, create, update, false, o)
}

// GetResetFields implements rest.ResetFieldsStrategy.
func (r *partREST) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return r.reset.GetResetFields()
}

// ConvertToTable implements rest.TableConvertor.
func (r *partREST) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return r.store.ConvertToTable(ctx, obj, o)
}

// replace sets what to points at to what from points at.
func replace(to, from runtime.Object) { reflect.ValueOf(to).Elem().Set(reflect.ValueOf(from).Elem()) }
