package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"periplus.dev/events"
	historyapi "periplus.dev/history/serve"
)

// defaultDataDir is where a cluster lives if nobody says otherwise: for root
// /var/lib/periplus, for others below $XDG_STATE_HOME, by default ~/.local/state.
func defaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/periplus"
	}
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "periplus")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".periplus"
	}
	return filepath.Join(home, ".local", "state", "periplus")
}

// target says which cluster a command asks, by its flags.
type target struct {
	dataDir    string
	kubeconfig string
}

func (t *target) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&t.dataDir, "data-dir", "", "ask the cluster that lives in `DIR`")
	flags.StringVar(&t.kubeconfig, "kubeconfig", "", "ask the cluster that `FILE` speaks of")
}

// targetHelp tells what [target.path] does.
const targetHelp = `The cluster is the one of --kubeconfig, else of --data-dir, else of $KUBECONFIG,
else the one in the default data directory, else that of ~/.kube/config.`

// path is the kubeconfig to use; empty for kubectl's own rules ($KUBECONFIG, then
// ~/.kube/config).
func (t *target) path() (string, error) {
	switch {
	case t.kubeconfig != "":
		if !isFile(t.kubeconfig) {
			return "", fmt.Errorf("read kubeconfig: there is no file %s", t.kubeconfig)
		}
		return t.kubeconfig, nil
	case t.dataDir != "":
		file := filepath.Join(t.dataDir, "kubeconfig")
		if !isFile(file) {
			return "", fmt.Errorf("there is no cluster in %s (no file kubeconfig): start one with: %s", t.dataDir, t.up())
		}
		return file, nil
	case os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "":
		return "", nil
	}
	if file := filepath.Join(defaultDataDir(), "kubeconfig"); isFile(file) {
		return file, nil
	}
	if !isFile(clientcmd.RecommendedHomeFile) {
		return "", fmt.Errorf("there is no cluster to ask: start one with: %s, or name one with --data-dir or --kubeconfig", t.up())
	}
	return "", nil
}

// up is the command that starts the target.
func (t *target) up() string {
	if t.dataDir != "" {
		return "periplus up --data-dir " + t.dataDir
	}
	return "periplus up"
}

// isFile is also true for a file that cannot be looked at: reading it then tells why.
func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && !info.IsDir() || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// client asks one cluster.
type client struct {
	config    *rest.Config
	http      *http.Client
	base      *url.URL
	namespace string // of the kubeconfig's context
	up        string // command that starts the cluster
}

// connect reads the kubeconfig; it does not ask the server anything.
func (t *target) connect() (*client, error) {
	path, err := t.path()
	if err != nil {
		return nil, err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.UserAgent = "periplus/" + version
	config.WarningHandler = rest.NoWarnings{}
	config.WarningHandlerWithContext = nil
	hc, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return &client{config: config, http: hc, base: base, namespace: namespace, up: t.up()}, nil
}

// get asks for a path of history/serve. The caller closes the answer. Any answer
// but 200 is an error that says what the server said.
func (c *client) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	return c.send(ctx, http.MethodGet, path, query)
}

// send is as get, for any method.
func (c *client) send(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if res.StatusCode == http.StatusOK && res.Header.Get(historyapi.HeaderVersion) != "" {
		return res.Body, nil
	}
	defer res.Body.Close()
	return nil, c.refused(res)
}

// refused makes an error of an answer that is none.
func (c *client) refused(res *http.Response) error {
	const enough = 64 << 10
	body, _ := io.ReadAll(io.LimitReader(res.Body, enough))
	var status metav1.Status
	told := json.Unmarshal(body, &status) == nil && status.Kind == "Status" && status.Message != ""
	switch {
	case res.Header.Get(historyapi.HeaderVersion) != "" && told:
		return errors.New(status.Message)
	case res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusOK:
		return fmt.Errorf("%s is not a Periplus server: it has no history", c.base)
	case told:
		return fmt.Errorf("%s: %s", c.base, status.Message)
	default:
		return fmt.Errorf("%s answered %s", c.base, res.Status)
	}
}

// unreachable says why the server could not be asked.
func (c *client) unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%s refuses the connection: if the cluster is down, start it with: %s", c.base, c.up)
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err
	}
	return fmt.Errorf("ask %s: %w", strings.TrimSuffix(c.base.String(), "/"), err)
}

// objectHelp tells what [client.object] takes.
const objectHelp = `OBJ is what kubectl takes: deployment/web, deploy web, replicasets.apps/web-5d78c9,
pod/web-5d78c9-x2v4k, node/n1. It need not exist any more. The form that -o json
prints works too: apps/deployments/default/web.`

// named is an object as somebody names it: by kind and name, or by its key.
type named struct {
	kind, name string
	key        events.Key // if it is not empty, that is it
}

// parseObject reads TYPE/NAME, TYPE NAME or GROUP/RESOURCE/NAMESPACE/NAME, the last
// of which needs no server to be understood.
func parseObject(args []string) (named, error) {
	if len(args) == 1 && strings.Count(args[0], "/") == 3 {
		key, err := events.ParseKey(args[0])
		if err != nil {
			return named{}, usagef("%v", err)
		}
		return named{key: key}, nil
	}
	kind, name, ok := strings.Cut(args[0], "/")
	switch {
	case len(args) == 2 && !ok:
		name = args[1]
	case len(args) == 2:
		return named{}, usagef("%q and %q: name one object", args[0], args[1])
	}
	if kind == "" || name == "" || strings.Contains(name, "/") {
		return named{}, usagef("%q is no object: want TYPE/NAME or TYPE NAME, such as deployment/web", strings.Join(args, " "))
	}
	return named{kind: kind, name: name}, nil
}

// oneObject checks the arguments that name an object.
func oneObject(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return usagef("%s wants one object, such as deployment/web; see %[1]s --help", cmd.CommandPath())
	}
	_, err := parseObject(args)
	return err
}

// object finds the key of an object that is named as for kubectl; a namespace is
// only taken for a kind that has one. The object need not exist.
func (c *client) object(args []string, namespace string) (events.Key, error) {
	n, err := parseObject(args)
	if err != nil || n.key != (events.Key{}) {
		return n.key, err
	}
	disc, err := discovery.NewDiscoveryClientForConfigAndClient(c.config, c.http)
	if err != nil {
		return events.Key{}, fmt.Errorf("ask %s for its resources: %w", c.base, err)
	}
	found := &resources{DiscoveryInterface: disc}
	if found.groups, found.lists, err = disc.ServerGroupsAndResources(); err != nil && len(found.lists) == 0 {
		return events.Key{}, c.unreachable(err)
	}
	mapping, err := found.mapping(n.kind)
	if err != nil {
		return events.Key{}, fmt.Errorf("the server has no resource type %q", n.kind)
	}
	key := events.Key{Group: mapping.Resource.Group, Resource: mapping.Resource.Resource, Name: n.name}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if key.Namespace = namespace; namespace == "" {
			key.Namespace = c.namespace
		}
	}
	return key, nil
}

// resources is what a server said it has, so that it is asked once.
type resources struct {
	discovery.DiscoveryInterface

	groups []*metav1.APIGroup
	lists  []*metav1.APIResourceList
}

// ServerGroupsAndResources returns what the server said.
func (r *resources) ServerGroupsAndResources() ([]*metav1.APIGroup, []*metav1.APIResourceList, error) {
	return r.groups, r.lists, nil
}

// mapping finds the resource behind a kind as people write it: plural, singular
// or short, with a group and a version or without.
func (r *resources) mapping(kind string) (*meta.RESTMapping, error) {
	groups, err := restmapper.GetAPIGroupResources(r)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewShortcutExpander(restmapper.NewDiscoveryRESTMapper(groups), r, nil)
	versioned, plain := schema.ParseResourceArg(strings.ToLower(kind))
	var gvk schema.GroupVersionKind
	if versioned != nil {
		gvk, _ = mapper.KindFor(*versioned)
	}
	if gvk.Empty() {
		if gvk, err = mapper.KindFor(plain.WithVersion("")); err != nil {
			return nil, err
		}
	}
	return mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
}
