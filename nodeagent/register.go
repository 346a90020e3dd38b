package nodeagent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/google/uuid"
	"go.uber.org/zap"

	corev1 "k8s.io/api/core/v1"

	"periplus.dev/events"
)

// register records what the node is, once the feed has told all, and that it
// takes pods; unless the log says so already.
func (a *Agent) register(ctx context.Context) error {
	select {
	case <-a.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	a.mu.Lock()
	origin := a.origin
	a.mu.Unlock()
	known := a.registration(origin)
	subject := events.Key{Resource: "nodes", Name: a.cfg.Node}.Observed(a.cfg.Node)
	var facts [2]*events.Proposal // made once: a retry proposes the very same
	return a.persist(ctx, "register node", func() error {
		last, _, err := a.cfg.Log.Last(ctx, subject)
		if err != nil {
			return fmt.Errorf("register node: %w", err)
		}
		cause, after := origin, last.Seq
		switch {
		case !says(last, known):
			if facts[0] == nil {
				facts[0] = a.nodeFact(subject, events.NodeRegistered, cause, known)
			}
			facts[0].After = after
			if after, err = a.append(ctx, facts[0]); err != nil {
				return fmt.Errorf("register node: %w", err)
			}
			cause = events.Ref{Seq: after, ID: facts[0].ID, Change: facts[0].Change}
		case last.Type == events.NodeReady:
			return nil
		default:
			cause = last.Ref()
		}
		if facts[1] == nil {
			facts[1] = a.nodeFact(subject, events.NodeReady, cause, events.Readiness{
				Reason: "AgentReady", Message: "the node agent runs and takes pods", Registration: fingerprint(known),
			})
		}
		facts[1].After = after
		if _, err := a.append(ctx, facts[1]); err != nil {
			return fmt.Errorf("report node ready: %w", err)
		}
		a.cfg.Logger.Info("node registered", zap.Uint64("seq", after))
		return nil
	})
}

func (a *Agent) nodeFact(s events.Subject, t events.Type, cause events.Ref, data any) *events.Proposal {
	p := events.New(s, 0, t, cause, data)
	p.ID, p.Time = a.cfg.NewID(), a.cfg.Now().UTC()
	p.Source, p.Actor = events.NodeSource(a.cfg.Node), events.Actor("node:"+a.cfg.Node)
	return &p
}

// says reports whether an event says of the node what is to be recorded.
func says(last events.Recorded, known events.Registered) bool {
	switch last.Type {
	case events.NodeRegistered:
		said, err := events.Decode[events.Registered](last)
		return err == nil && fingerprint(said) == fingerprint(known)
	case events.NodeReady:
		said, err := events.Decode[events.Readiness](last)
		return err == nil && said.Registration == fingerprint(known)
	default:
		return false
	}
}

// fingerprint is short for a registration.
func fingerprint(r events.Registered) string {
	raw, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("encode registration %+v: %v", r, err)) // a struct of strings and maps
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// registration is what the node is and has. Its uid follows from the log and the
// name, so that it is the same after every start.
func (a *Agent) registration(origin events.Ref) events.Registered {
	info := a.info
	labels := map[string]string{
		corev1.LabelHostname: a.cfg.Node, corev1.LabelOSStable: info.OperatingSystem, corev1.LabelArchStable: info.Architecture,
	}
	maps.Copy(labels, a.cfg.Labels)
	r := events.Registered{
		UID:    uuid.NewSHA1(uuid.NameSpaceOID, []byte(origin.ID+"/nodes/"+a.cfg.Node)).String(),
		Labels: labels, Capacity: quantities(a.capacity()), Allocatable: quantities(a.allocatable()), PodCIDR: info.PodCIDR,
		Info: events.NodeInfo{
			MachineID: info.MachineID, BootID: info.BootID, KernelVersion: info.KernelVersion, OSImage: info.OSImage,
			OperatingSystem: info.OperatingSystem, Architecture: info.Architecture,
			ContainerRuntime: info.Runtime + "://" + info.RuntimeVersion, AgentVersion: a.cfg.Version,
		},
	}
	for _, ip := range info.Addresses {
		r.Addresses = append(r.Addresses, events.Address{Type: string(corev1.NodeInternalIP), Address: ip})
	}
	r.Addresses = append(r.Addresses, events.Address{Type: string(corev1.NodeHostName), Address: a.cfg.Node})
	return r
}

func quantities(list corev1.ResourceList) map[string]string {
	out := make(map[string]string, len(list))
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}
