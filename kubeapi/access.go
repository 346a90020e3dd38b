package kubeapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/options"
)

// authenticator knows the holders of certificates that the cluster's authority
// issued. There is no anonymous user.
func (s *Server) authenticator() authenticator.Request {
	verify := x509.DefaultVerifyOptions()
	verify.Roots = s.authority.Roots()
	return group.NewAuthenticatedGroupAdder(x509.New(verify, x509.CommonNameUserConversion))
}

// secure is TLS on the listener, with the server's certificate.
func (s *Server) secure(cfg *genericapiserver.Config) error {
	pair, err := s.authority.Server(s.cfg.hosts())
	if err != nil {
		return err
	}
	if _, err := s.authority.Client(adminUser, mastersGroup); err != nil {
		return err
	}
	cert, err := dynamiccertificates.NewStaticCertKeyContent("server", pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("use server certificate: %w", err)
	}
	o := options.NewSecureServingOptions()
	o.Listener = s.cfg.Listener
	o.ServerCert.GeneratedCert = cert
	if err := o.WithLoopback().ApplyToConfig(cfg); err != nil {
		return fmt.Errorf("configure TLS: %w", err)
	}
	cfg.SecureServing.ClientCA, err = dynamiccertificates.NewStaticCAContent("clients", s.authority.Cert())
	if err != nil {
		return fmt.Errorf("use client authority: %w", err)
	}
	return nil
}

// access decides who may do what: masters everything, everybody who is
// authenticated what a client needs to find its way and to learn what it may do.
type access struct{}

var (
	_ authorizer.Authorizer   = access{}
	_ authorizer.RuleResolver = access{}
)

// Authorize implements authorizer.Authorizer.
func (access) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	switch {
	case u == nil:
		return authorizer.DecisionDeny, "nobody asks", nil
	case slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup):
		return authorizer.DecisionAllow, "", nil
	case !slices.Contains(u.GetGroups(), user.AllAuthenticated):
		return authorizer.DecisionNoOpinion, "", nil
	case a.IsResourceRequest() && isSelfReview(a), !a.IsResourceRequest() && a.GetVerb() == "get" && isDiscovery(a.GetPath()):
		return authorizer.DecisionAllow, "", nil
	default:
		return authorizer.DecisionNoOpinion, "", nil
	}
}

// ConditionsAwareAuthorize implements authorizer.Authorizer.
func (c access) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(c.Authorize(ctx, a))
}

// EvaluateConditions implements authorizer.Authorizer; decisions have no conditions.
func (access) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// selfReviews are the questions that everybody may ask, by API group.
func selfReviews() map[string][]string {
	return map[string][]string{
		"authorization.k8s.io":  {"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
		"authentication.k8s.io": {"selfsubjectreviews"},
	}
}

func isSelfReview(a authorizer.Attributes) bool {
	return a.GetVerb() == "create" && slices.Contains(selfReviews()[a.GetAPIGroup()], a.GetResource())
}

// discovery are the paths that everybody may read.
func discovery() []string {
	return []string{"/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"}
}

func isDiscovery(path string) bool {
	return slices.ContainsFunc(discovery(), func(p string) bool {
		below, all := strings.CutSuffix(p, "*")
		return p == path || all && strings.HasPrefix(path, below)
	})
}

// RulesFor implements authorizer.RuleResolver.
func (access) RulesFor(_ context.Context, u user.Info, _ string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	all := []string{"*"}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: all, APIGroups: all, Resources: all}},
			[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: all, NonResourceURLs: all}}, false, nil
	}
	var rules []authorizer.ResourceRuleInfo
	for _, g := range []string{"authentication.k8s.io", "authorization.k8s.io"} {
		rules = append(rules, &authorizer.DefaultResourceRuleInfo{Verbs: []string{"create"}, APIGroups: []string{g}, Resources: selfReviews()[g]})
	}
	return rules, []authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: []string{"get"}, NonResourceURLs: discovery()}}, false, nil
}
