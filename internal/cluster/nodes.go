package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/history/serve"
	"periplus.dev/kubeapi"
	"periplus.dev/nodeagent"
	"periplus.dev/nodeagent/volume"
)

// ImagesPath is where image archives are posted to.
const ImagesPath = "/periplus/v1/images"

// ImagesAnswer is what loading images answers.
type ImagesAnswer struct {
	Images []string `json:"images"` // full names, sorted
}

// loadImages imports the archive in the body on every node of the process.
func (c *Cluster) loadImages(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(serve.HeaderVersion, c.cfg.Version)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, "images are loaded with POST")
		return
	}
	seen := map[string]bool{}
	answer := ImagesAnswer{Images: []string{}}
	archive := &rewinder{from: r.Body}
	defer archive.close()
	for _, n := range c.cfg.Nodes {
		body, err := archive.start()
		if err != nil {
			refuse(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, err.Error())
			return
		}
		images, err := n.Runtime.Import(r.Context(), body)
		if err != nil {
			refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, fmt.Sprintf("import images on node %s: %v", n.Name, err))
			return
		}
		for _, img := range images {
			if !seen[img.Ref] {
				seen[img.Ref] = true
				answer.Images = append(answer.Images, img.Ref)
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, answer)
}

// writeJSON writes an answer; a client that has gone away need not be told.
func writeJSON(w io.Writer, v any) {
	_ = json.NewEncoder(w).Encode(v) //nolint:errchkjson // see above
}

// refuse answers with an error in Kubernetes' own form.
func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	writeJSON(w, metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
}

// agent returns the node agent a pod runs on.
func (c *Cluster) agent(node string) (*nodeagent.Agent, error) {
	a, ok := c.agents[node]
	if !ok {
		return nil, fmt.Errorf("node %q cannot be reached from here", node)
	}
	return a, nil
}

// Logs implements kubeapi.NodeBackend.
func (c *Cluster) Logs(ctx context.Context, node string, pod kubeapi.PodRef, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	a, err := c.agent(node)
	if err != nil {
		return nil, err
	}
	return a.Logs(ctx, nodeagent.PodRef(pod), o)
}

// Exec implements kubeapi.NodeBackend.
func (c *Cluster) Exec(ctx context.Context, node string, pod kubeapi.PodRef, container string, command []string,
	stdin io.Reader, stdout, stderr io.Writer, tty bool, resize <-chan kubeapi.TerminalSize,
) (int, error) {
	a, err := c.agent(node)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return a.Exec(ctx, nodeagent.PodRef(pod), container, command, stdin, stdout, stderr, tty, sizes(ctx, resize))
}

// sizes passes window sizes on until there are no more or ctx ends.
func sizes(ctx context.Context, in <-chan kubeapi.TerminalSize) <-chan nodeagent.Size {
	if in == nil {
		return nil
	}
	out := make(chan nodeagent.Size)
	go func() {
		defer close(out)
		for {
			select {
			case s, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- nodeagent.Size(s):
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func (c *Cluster) newAgent(n Node) (*nodeagent.Agent, error) {
	return nodeagent.New(nodeagent.Config{
		Node: n.Name, Runtime: n.Runtime, Log: c.cfg.Log, Feed: c.cfg.Feed, Volumes: volume.Dir{Root: n.Dir},
		Addresses: n.Addresses, PodCIDR: n.PodCIDR, Version: c.cfg.Version, Now: c.cfg.Now, NewID: c.cfg.NewID,
		Logger: c.cfg.Logger,
	})
}
