package kinds

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// review is what all reviews have in common: they are asked by creating them,
// and are in no namespace.
type review struct{}

// NamespaceScoped implements rest.Scoper.
func (review) NamespaceScoped() bool { return false }

// Destroy implements rest.Storage.
func (review) Destroy() {}

func asker(ctx context.Context) (user.Info, error) {
	u, ok := request.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	return u, nil
}

func wrongType(want string, obj runtime.Object) error {
	return apierrors.NewBadRequest(fmt.Sprintf("not a %s: %T", want, obj))
}

// selfAccessREST answers whether the asker may do something.
type selfAccessREST struct {
	review
	authorizer authorizer.UnconditionalAuthorizer
}

// New implements rest.Storage.
func (r *selfAccessREST) New() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }

// GetSingularName implements rest.SingularNameProvider.
func (r *selfAccessREST) GetSingularName() string { return "selfsubjectaccessreview" }

// Create answers the question.
func (r *selfAccessREST) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*authorizationv1.SelfSubjectAccessReview)
	if !ok {
		return nil, wrongType("SelfSubjectAccessReview", obj)
	}
	u, err := asker(ctx)
	if err != nil {
		return nil, err
	}
	out := in.DeepCopy()
	out.Status, err = decide(ctx, r.authorizer, u, in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes)
	return out, err
}

// accessREST answers whether somebody may do something.
type accessREST struct {
	review
	authorizer authorizer.UnconditionalAuthorizer
}

// New implements rest.Storage.
func (r *accessREST) New() runtime.Object { return &authorizationv1.SubjectAccessReview{} }

// GetSingularName implements rest.SingularNameProvider.
func (r *accessREST) GetSingularName() string { return "subjectaccessreview" }

// Create answers the question.
func (r *accessREST) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*authorizationv1.SubjectAccessReview)
	if !ok {
		return nil, wrongType("SubjectAccessReview", obj)
	}
	if in.Spec.User == "" && len(in.Spec.Groups) == 0 {
		return nil, apierrors.NewBadRequest("at least one of user or group must be specified")
	}
	out := in.DeepCopy()
	about := &user.DefaultInfo{Name: in.Spec.User, Groups: in.Spec.Groups, UID: in.Spec.UID}
	var err error
	out.Status, err = decide(ctx, r.authorizer, about, in.Spec.ResourceAttributes, in.Spec.NonResourceAttributes)
	return out, err
}

func decide(ctx context.Context, a authorizer.UnconditionalAuthorizer, u user.Info, res *authorizationv1.ResourceAttributes, path *authorizationv1.NonResourceAttributes) (authorizationv1.SubjectAccessReviewStatus, error) {
	attributes := authorizer.AttributesRecord{User: u}
	switch {
	case (res == nil) == (path == nil):
		return authorizationv1.SubjectAccessReviewStatus{}, apierrors.NewBadRequest("exactly one of nonResourceAttributes or resourceAttributes must be specified")
	case path != nil:
		attributes.Verb, attributes.Path = path.Verb, path.Path
	default:
		attributes.ResourceRequest = true
		attributes.Verb, attributes.Namespace, attributes.Name = res.Verb, res.Namespace, res.Name
		attributes.APIGroup, attributes.APIVersion, attributes.Resource, attributes.Subresource = res.Group, res.Version, res.Resource, res.Subresource
	}
	decision, reason, err := a.Authorize(ctx, attributes)
	status := authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	if err != nil {
		status.EvaluationError = err.Error()
	}
	return status, nil
}

// selfRulesREST answers what the asker may do.
type selfRulesREST struct {
	review
	authorizer authorizer.RuleResolver
}

// New implements rest.Storage.
func (r *selfRulesREST) New() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }

// GetSingularName implements rest.SingularNameProvider.
func (r *selfRulesREST) GetSingularName() string { return "selfsubjectrulesreview" }

// Create answers the question.
func (r *selfRulesREST) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*authorizationv1.SelfSubjectRulesReview)
	if !ok {
		return nil, wrongType("SelfSubjectRulesReview", obj)
	}
	if in.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	u, err := asker(ctx)
	if err != nil {
		return nil, err
	}
	resources, paths, incomplete, err := r.authorizer.RulesFor(ctx, u, in.Spec.Namespace)
	out := in.DeepCopy()
	out.Status.Incomplete = incomplete
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	out.Status.ResourceRules, out.Status.NonResourceRules = []authorizationv1.ResourceRule{}, []authorizationv1.NonResourceRule{}
	for _, rule := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range paths {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()})
	}
	return out, nil
}

// whoamiREST answers who the asker is.
type whoamiREST struct {
	review
	now func() time.Time
}

// New implements rest.Storage.
func (r *whoamiREST) New() runtime.Object { return &authenticationv1.SelfSubjectReview{} }

// GetSingularName implements rest.SingularNameProvider.
func (r *whoamiREST) GetSingularName() string { return "selfsubjectreview" }

// Create answers the question.
func (r *whoamiREST) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if _, ok := obj.(*authenticationv1.SelfSubjectReview); !ok {
		return nil, wrongType("SelfSubjectReview", obj)
	}
	u, err := asker(ctx)
	if err != nil {
		return nil, err
	}
	out := &authenticationv1.SelfSubjectReview{}
	out.CreationTimestamp = metav1.NewTime(r.now())
	out.Status.UserInfo = authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for key, value := range u.GetExtra() {
		if out.Status.UserInfo.Extra == nil {
			out.Status.UserInfo.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Status.UserInfo.Extra[key] = value
	}
	return out, nil
}
