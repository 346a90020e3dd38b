package history

import (
	"strings"

	"periplus.dev/events"
)

// Annotations that sentences read.
const (
	revisionAnnotation = "deployment.kubernetes.io/revision"
	slotAnnotation     = "periplus.dev/slot"
)

// general tells the facts that every kind can have.
var general = map[string]func(telling) string{
	events.FactCreated:           created,
	events.FactSpecChanged:       func(t telling) string { return "spec changed" + paths(": ", t.changed) },
	events.FactDataChanged:       func(t telling) string { return "content changed" + paths(": ", t.changed) },
	events.FactMetadataChanged:   func(t telling) string { return "metadata changed" + paths(": ", t.changed) },
	events.FactDeletionRequested: func(t telling) string { return "deletion requested" + t.held() },
	events.FactDeleted:           func(telling) string { return "deleted" },
	events.FactStatusReported:    func(t telling) string { return "status reported" + paths(": ", t.changed) },
	events.FactFinalized:         func(telling) string { return "gone: nothing held it any longer" },
	events.FactCollectRequested:  func(t telling) string { return "to go, because its owners are gone" + t.held() },
	events.FactCollected:         func(telling) string { return "gone, because its owners are gone" },
	events.FactOrphaned:          func(telling) string { return "orphaned: an owner was deleted and left it behind" },
	events.FactDependentsGone:    func(telling) string { return "no longer held by its dependents: they are dealt with" },
	events.FactSweepRequested:    func(t telling) string { return "to go with its namespace" + t.held() },
	events.FactSwept:             func(telling) string { return "gone with its namespace" },
	events.FactProvisioned:       func(telling) string { return "provisioned: it always exists" },
}

// intents tells the fat facts that only one kind has.
var intents = map[events.Type]func(telling) string{
	events.ClusterInitialized: func(telling) string { return "the log begins" },

	events.DeploymentScaled:          func(t telling) string { return "scaled " + t.scale() },
	events.DeploymentTemplateChanged: func(t telling) string { return t.template("template changed") },
	events.DeploymentRestarted:       func(telling) string { return "restarted: all its pods are to be replaced" },
	events.DeploymentRolledBack:      func(t telling) string { return t.template("rolled back") },
	events.DeploymentPaused:          func(telling) string { return "rollout paused" },
	events.DeploymentResumed:         func(telling) string { return "rollout resumed" },
	events.DeploymentRevisionRecorded: func(t telling) string {
		return "revision " + t.now.revision() + " recorded"
	},

	events.ReplicaSetScaled:          func(t telling) string { return "scaled " + t.scale() },
	events.ReplicaSetTemplateChanged: func(t telling) string { return t.template("template changed") },
	events.ReplicaSetRolledOut:       rolledOut,
	events.ReplicaSetStepped:         func(t telling) string { return "stepped " + t.scale() },
	events.ReplicaSetRevised:         revised,
	events.ReplicaSetAdopted:         adopted,
	events.ReplicaSetReleased:        released,
	events.ReplicaSetPruned:          func(telling) string { return "pruned: older than the revisions that are kept" },

	events.PodRequested: requested,
	events.PodRetired: func(t telling) string {
		return "retired: " + t.now.controller("its replicaset") + " needs fewer pods"
	},
	events.PodAdopted:  adopted,
	events.PodReleased: released,
	events.PodBound:    func(t telling) string { return "bound to " + orUnknown(t.now.Spec.NodeName) },

	events.NodeCordoned:   func(telling) string { return "cordoned: it takes no new pods" },
	events.NodeUncordoned: func(telling) string { return "uncordoned: it takes new pods again" },
	events.NodeTainted:    tainted,

	events.NamespaceEmptied: func(telling) string { return "gone, as is the last of its content" },
}

func created(t telling) string {
	s := "created"
	if t.now.Spec.Replicas != nil {
		s += " with " + count(*t.now.Spec.Replicas, "replica")
		return s + t.now.images(" of ")
	}
	return s + t.now.images(" with ")
}

// held says what keeps an object that is to go.
func (t telling) held() string {
	m := t.now.Metadata
	var parts []string
	if m.Grace != nil && *m.Grace > 0 {
		parts = append(parts, count(*m.Grace, "second")+" of grace")
	}
	if len(m.Finalizers) > 0 {
		parts = append(parts, "held by "+strings.Join(m.Finalizers, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

func (w wanted) revision() string { return orUnknown(w.Metadata.Annotations[revisionAnnotation]) }

func rolledOut(t telling) string {
	return "made for revision " + t.now.revision() + " of " + t.now.controller("its deployment") +
		" with " + count(t.now.replicas(), "replica") + t.now.images(" of ")
}

func revised(t telling) string {
	if now := t.now.revision(); !t.hasBefore || t.before.revision() != now {
		return "serves " + t.now.controller("its deployment") + " as revision " + now
	}
	return "follows the settings of " + t.now.controller("its deployment") + paths(": ", t.changed)
}

func requested(t telling) string {
	s := "requested for "
	if slot := t.now.Metadata.Annotations[slotAnnotation]; slot != "" {
		s += "slot " + slot + " of "
	}
	return s + t.now.controller("its replicaset") + t.now.images(" with ")
}

func adopted(t telling) string { return "adopted by " + t.now.controller("an owner") }

func released(t telling) string { return "released by " + t.before.controller("its owner") }

func tainted(t telling) string {
	var list []string
	for _, taint := range t.now.Spec.Taints {
		s := taint.Key
		if taint.Value != "" {
			s += "=" + taint.Value
		}
		list = append(list, s+":"+taint.Effect)
	}
	if len(list) == 0 {
		return "taints removed"
	}
	return "taints changed to " + strings.Join(list, ", ")
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
