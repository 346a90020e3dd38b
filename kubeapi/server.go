package kubeapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/storage"
	basecompatibility "k8s.io/component-base/compatibility"

	"periplus.dev/kubeapi/kinds"
	"periplus.dev/kubeapi/logstore"
	reflected "periplus.dev/kubeapi/openapi"
	"periplus.dev/kubeapi/pki"
	"periplus.dev/kubeapi/scheme"
)

// The Kubernetes that the server behaves as.
const (
	kubernetesVersion = "1.37.2"
	adminUser         = "admin"
	mastersGroup      = "system:masters"
)

// shutdownGrace bounds how long a stopping server waits for its clients.
const shutdownGrace = 5 * time.Second

// Server is the door. Its methods may be called concurrently.
type Server struct {
	cfg       Config
	authority *pki.Authority
	generic   *genericapiserver.GenericAPIServer
	stop      context.CancelFunc // ends the requests that last
	serving   chan struct{}      // closed when requests are answered
}

// New makes a server that listens already; it answers once [Server.Run] runs. On
// an error the listener is closed.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, fmt.Errorf("configure api server: %w", err)
	}
	s := &Server{cfg: cfg, serving: make(chan struct{})}
	if err := s.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("build api server: %w", err), cfg.Listener.Close())
	}
	return s, nil
}

func (s *Server) build() error {
	kindScheme, err := scheme.New()
	if err != nil {
		return err
	}
	if s.authority, err = pki.Open(s.cfg.Dir, s.cfg.Now); err != nil {
		return err
	}
	stopping, stop := context.WithCancel(context.Background())
	s.stop = stop
	config, err := s.config(stopping, kindScheme)
	if err != nil {
		return err
	}
	if s.generic, err = config.Complete(nil).New("periplus", genericapiserver.NewEmptyDelegate()); err != nil {
		return err
	}
	s.generic.ShutdownTimeout = shutdownGrace
	if err := s.install(kindScheme); err != nil {
		return err
	}
	s.generic.AddPostStartHookOrDie("periplus-serving", func(genericapiserver.PostStartHookContext) error {
		close(s.serving)
		return nil
	})
	s.generic.Handler.NonGoRestfulMux.HandleFunc(customKinds, noCustomKinds)
	for path, h := range s.cfg.Handlers {
		if strings.HasSuffix(path, "/") {
			s.generic.Handler.NonGoRestfulMux.HandlePrefix(path, h)
		} else {
			s.generic.Handler.NonGoRestfulMux.Handle(path, h)
		}
	}
	return s.generic.AddReadyzChecks(
		healthz.NamedCheck("event-log", ready(s.cfg.Main.World)), healthz.NamedCheck("lease-log", ready(s.cfg.Leases.World)))
}

func ready(p Projection) func(*http.Request) error {
	return func(*http.Request) error {
		select {
		case <-p.CaughtUp():
			return nil
		default:
			return errors.New("not read to its end yet")
		}
	}
}

// config is the generic server's.
func (s *Server) config(stopping context.Context, ks *scheme.Scheme) (*genericapiserver.Config, error) {
	cfg := genericapiserver.NewConfig(ks.Codecs)
	if err := s.secure(cfg); err != nil {
		return nil, err
	}
	cfg.Authentication.Authenticator = s.authenticator()
	cfg.Authorization.Authorizer = access{}
	cfg.RuleResolver = access{}
	cfg.AdmissionControl = &admit{world: s.cfg.Main.World}
	cfg.ExternalAddress = s.Addr()
	cfg.EffectiveVersion = effectiveVersion{
		EffectiveVersion: basecompatibility.NewEffectiveVersionFromString(kubernetesVersion, "", ""), own: s.cfg.Version,
	}
	definitions := reflected.Definitions(ks.Scheme, scheme.Versions()...)
	namer := openapi.NewDefinitionNamer(ks.Scheme)
	cfg.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	cfg.OpenAPIConfig.Info.Title = "Periplus"
	cfg.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	cfg.OpenAPIV3Config.Info.Title = "Periplus"
	cfg.EnableProfiling = false
	cfg.LongRunningFunc = longRunning()
	cfg.ShutdownWatchTerminationGracePeriod = shutdownGrace
	cfg.BuildHandlerChainFunc = func(h http.Handler, c *genericapiserver.Config) http.Handler {
		h = endWith(stopping, h, c.LongRunningFunc)
		return withNotes(genericapiserver.DefaultBuildHandlerChain(h, c))
	}
	return cfg, nil
}

// install adds the kinds.
func (s *Server) install(ks *scheme.Scheme) error {
	builder := &kinds.Builder{Scheme: ks, Storage: s.storage, Nodes: s.cfg.Nodes, Authorizer: access{}, Now: s.cfg.Now}
	groups, err := builder.Groups()
	if err != nil {
		return err
	}
	for _, gv := range scheme.Versions() {
		resources, ok := groups[gv]
		if !ok {
			continue
		}
		info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, ks.Scheme, ks.Parameters, ks.Codecs)
		info.PrioritizedVersions = []schema.GroupVersion{gv}
		info.VersionedResourcesStorageMap = map[string]map[string]rest.Storage{gv.Version: resources}
		if gv == corev1.SchemeGroupVersion {
			err = s.generic.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, &info)
		} else {
			err = s.generic.InstallAPIGroup(&info)
		}
		if err != nil {
			return fmt.Errorf("install %s: %w", gv, err)
		}
	}
	return nil
}

// storage is where the objects of a kind are.
func (s *Server) storage(k kinds.Kind) storage.Interface {
	cfg := logstore.Config{
		Resource: k.GroupResource(), Kind: k.Singular, Prefix: k.Prefix(), New: k.New,
		World: s.cfg.Main.World, Log: s.cfg.Main.Log, Now: s.cfg.Now, NewID: s.cfg.NewID,
	}
	switch k.Resource {
	case "leases":
		cfg.World, cfg.Log = s.cfg.Leases.World, s.cfg.Leases.Log
	case "secrets":
		cfg.Seal, cfg.Open = onSecret(s.cfg.Sealer.Seal), onSecret(s.cfg.Sealer.Open)
	}
	return logstore.New(cfg)
}

func onSecret(fn func(*corev1.Secret) (*corev1.Secret, error)) func(runtime.Object) (runtime.Object, error) {
	return func(obj runtime.Object) (runtime.Object, error) {
		secret, ok := obj.(*corev1.Secret)
		if !ok {
			return nil, fmt.Errorf("seal or open %T: not a Secret", obj)
		}
		return fn(secret)
	}
}

// Addr is where the server listens, as host:port.
func (s *Server) Addr() string { return s.cfg.Listener.Addr().String() }

// URL is where clients on this machine reach the server.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.Addr())
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "https://" + net.JoinHostPort(host, port)
}

// Port is the port the server listens on.
func (s *Server) Port() int {
	_, port, _ := net.SplitHostPort(s.Addr())
	n, _ := strconv.Atoi(port)
	return n
}

// WriteKubeconfig writes a kubeconfig for the administrator, readable by its
// owner alone.
func (s *Server) WriteKubeconfig(path string) error {
	if err := s.authority.WriteKubeconfig(path, s.URL(), adminUser, mastersGroup); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// Serving is closed once the server answers requests.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// Run serves until ctx ends, then finishes the requests that are under way and
// ends those that last. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, s.stop)
	defer unhook()
	defer s.stop()
	if err := s.generic.PrepareRun().RunWithContext(ctx); err != nil {
		return fmt.Errorf("run api server: %w", err)
	}
	return nil
}

// effectiveVersion says which Kubernetes this is, and that it is Periplus.
type effectiveVersion struct {
	basecompatibility.EffectiveVersion
	own string
}

// Info implements compatibility.EffectiveVersion.
func (v effectiveVersion) Info() *version.Info {
	info := *v.EffectiveVersion.Info()
	major, rest, _ := strings.Cut(kubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	info.Major, info.Minor = major, minor
	info.GitVersion = "v" + kubernetesVersion + "+periplus"
	if own := buildMetadata(v.own); own != "" {
		info.GitVersion += "." + own
	}
	info.GitCommit, info.GitTreeState, info.BuildDate = "", "", ""
	return &info
}

// buildMetadata keeps of a version what may stand after the plus of a semantic version.
func buildMetadata(v string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, v)
	return strings.Trim(clean, ".-")
}
