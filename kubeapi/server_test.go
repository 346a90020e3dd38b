package kubeapi

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"periplus.dev/events/memlog"
)

func TestVersionDiscoveryAndOpenAPI(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	v, err := c.client.Discovery().ServerVersion()
	must(t, err)
	if v.GitVersion != "v1.37.2+periplus.test" || v.Major != "1" || v.Minor != "37" {
		t.Errorf("version %+v", v)
	}
	_, lists, err := c.client.Discovery().ServerGroupsAndResources()
	must(t, err)
	got := map[string]metav1.APIResource{}
	for _, l := range lists {
		for _, r := range l.APIResources {
			got[l.GroupVersion+" "+r.Name] = r
		}
	}
	for name, want := range map[string]metav1.APIResource{
		"v1 pods":                       {SingularName: "pod", ShortNames: []string{"po"}, Categories: []string{"all"}, Namespaced: true, Kind: "Pod"},
		"v1 namespaces":                 {SingularName: "namespace", ShortNames: []string{"ns"}, Kind: "Namespace"},
		"apps/v1 deployments":           {SingularName: "deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"}, Namespaced: true, Kind: "Deployment"},
		"coordination.k8s.io/v1 leases": {SingularName: "lease", Namespaced: true, Kind: "Lease"},
		"apps/v1 deployments/scale":     {SingularName: "deployment", Namespaced: true, Kind: "Scale", Group: "autoscaling", Version: "v1"},
		"v1 pods/eviction":              {SingularName: "pod", Namespaced: true, Kind: "Eviction", Group: "policy", Version: "v1"},
	} {
		r := got[name]
		if r.Kind != want.Kind || r.SingularName != want.SingularName || r.Namespaced != want.Namespaced ||
			!slices.Equal(r.ShortNames, want.ShortNames) || !slices.Equal(r.Categories, want.Categories) ||
			want.Group != "" && (r.Group != want.Group || r.Version != want.Version) {
			t.Errorf("%s is %+v", name, r)
		}
	}
	if ns := got["v1 namespaces"].Verbs; slices.Contains(ns, "deletecollection") || !slices.Contains(ns, "watch") {
		t.Errorf("verbs of namespaces %v", ns)
	}
	doc, err := c.client.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/apps/v1").DoRaw(t.Context())
	must(t, err)
	for _, want := range []string{`"x-kubernetes-list-map-keys"`, `"x-kubernetes-patch-merge-key"`, "Deployment enables declarative updates"} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("OpenAPI v3 lacks %s", want)
		}
	}
	if _, err := c.client.Discovery().OpenAPISchema(); err != nil {
		t.Errorf("OpenAPI v2: %v", err)
	}
}

func TestWhoMayComeIn(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	anonymous := rest.AnonymousClientConfig(c.config)
	client, err := kubernetes.NewForConfig(anonymous)
	must(t, err)
	if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous: %v", err)
	}
	foreign := rest.CopyConfig(c.config)
	other := start(t, nil)
	foreign.CertData, foreign.KeyData = other.config.CertData, other.config.KeyData
	client, err = kubernetes.NewForConfig(foreign)
	must(t, err)
	if _, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("certificate of another cluster: %v", err)
	}
	if _, err := tls.Dial("tcp", c.Addr(), &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
	info, err := os.Stat(c.kubeconfig)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig has mode %v", info.Mode())
	}
}

func TestAnyoneElseMayOnlyAskAboutThemselves(t *testing.T) {
	t.Parallel()
	c := start(t, nil)
	path := filepath.Join(c.dir, "ann")
	must(t, c.authority.WriteKubeconfig(path, c.URL(), "ann", "crew"))
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	ann, err := kubernetes.NewForConfig(cfg)
	must(t, err)
	_, err = ann.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "ann" cannot list resource "pods"`) {
		t.Errorf("list: %v", err)
	}
	me, err := ann.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	must(t, err)
	if u := me.Status.UserInfo; u.Username != "ann" || !slices.Contains(u.Groups, "crew") {
		t.Errorf("whoami %+v", u)
	}
	for verb, want := range map[string]bool{"create": false, "get": false} {
		r := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: "pods"}}}
		r, err := ann.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), r, metav1.CreateOptions{})
		must(t, err)
		if r.Status.Allowed != want {
			t.Errorf("%s pods: %+v", verb, r.Status)
		}
	}
	rules, err := ann.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(),
		&authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "default"}}, metav1.CreateOptions{})
	must(t, err)
	if len(rules.Status.ResourceRules) != 2 || len(rules.Status.NonResourceRules) != 1 {
		t.Errorf("rules %+v", rules.Status)
	}
	if _, err := ann.Discovery().ServerVersion(); err != nil {
		t.Errorf("version: %v", err)
	}
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	c := start(t, func(cfg *Config, _ *memlog.Config) {
		cfg.Handlers = map[string]http.Handler{HandlerPrefix + "history/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			must(t, json.NewEncoder(w).Encode(r.URL.Path))
		})}
	})
	body, err := c.client.RESTClient().Get().AbsPath("/periplus/v1/history/pods/x").DoRaw(t.Context())
	must(t, err)
	if strings.TrimSpace(string(body)) != `"/periplus/v1/history/pods/x"` {
		t.Errorf("answer %s", body)
	}
	anonymous, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(c.config))
	must(t, err)
	if _, err := anonymous.RESTClient().Get().AbsPath("/periplus/v1/history/pods/x").DoRaw(t.Context()); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("error %v", err)
	}
	full := Config{Main: Stream{World: start(t, nil).world, Log: memlog.New(memlog.Config{})}, Sealer: nilSealer{}, Nodes: &fakeNodes{}, Dir: t.TempDir()}
	full.Leases = full.Main
	full.Handlers = map[string]http.Handler{"/api/v1/pods": http.NotFoundHandler()}
	if _, err := New(full); err == nil || !strings.Contains(err.Error(), HandlerPrefix) {
		t.Errorf("error %v", err)
	}
	full.Handlers = nil
	full.Port = start(t, nil).Port()
	if _, err := New(full); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}

type nilSealer struct{}

func (nilSealer) Seal(s *corev1.Secret) (*corev1.Secret, error) { return s, nil }
func (nilSealer) Open(s *corev1.Secret) (*corev1.Secret, error) { return s, nil }

func TestFilters(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "for ticket 7": "for ticket 7", " a\tb\x01 ": "a b", strings.Repeat("é", 600): strings.Repeat("é", 512),
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%.20q) = %.20q, want %.20q", in, got, want)
		}
	}
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for in, want := range map[string]string{good: good, "": "", good[:50]: "", strings.ToUpper(good): "", strings.Replace(good, "-", "0", 1): ""} {
		if got := trace(in); got != want {
			t.Errorf("trace(%q) = %q, want %q", in, got, want)
		}
	}
	if got := buildMetadata("v0.1.0+dirty build "); got != "v0.1.0-dirty-build" {
		t.Errorf("build metadata %q", got)
	}
}
