package events

import (
	"maps"
	"slices"
	"strings"
)

// Type is an event's name on the wire: "dev.periplus.KIND.FACT.vMAJOR". A
// released type never changes and is never derived from a Go name.
type Type string

const typePrefix = "dev.periplus."

// TypeOf is the type of a fact that any kind can have, for one kind (singular,
// lower case: "configmap"), such as TypeOf("configmap", FactCreated).
func TypeOf(kind, fact string) Type { return Type(typePrefix + kind + "." + fact + ".v1") }

// Short is the type without what every type shares: "deployment.scaled".
func (t Type) Short() string {
	s := strings.TrimPrefix(string(t), typePrefix)
	if i := strings.LastIndex(s, ".v"); i > 0 {
		return s[:i]
	}
	return s
}

// Kind is the object kind in the type, singular and lower case.
func (t Type) Kind() string { kind, _, _ := strings.Cut(t.Short(), "."); return kind }

// Fact is what happened, without the kind: "scaled".
func (t Type) Fact() string { _, fact, _ := strings.Cut(t.Short(), "."); return fact }

// Owners: the components that append events.
const (
	OwnerDoor        = "door"
	OwnerNode        = "nodeagent"
	OwnerDeployments = "reconcilers/deployments"
	OwnerReplicas    = "reconcilers/replicas"
	OwnerScheduler   = "reconcilers/scheduler"
	OwnerGarbage     = "reconcilers/garbage"
	OwnerNamespaces  = "reconcilers/namespaces"
)

// Facts that every kind can have. Kinds with an intent of their own add to them.
const (
	FactCreated           = "created"            // door: a person created the object
	FactSpecChanged       = "spec-changed"       // door: the spec is different
	FactDataChanged       = "data-changed"       // door: a kind without a spec has other content
	FactMetadataChanged   = "metadata-changed"   // door: labels, annotations, owners or finalizers only
	FactDeletionRequested = "deletion-requested" // door: the object is to go; finalizers or a grace period hold it
	FactDeleted           = "deleted"            // door: the object is gone
	FactStatusReported    = "status-reported"    // door: an outside controller reported a status
	FactFinalized         = "finalized"          // garbage: nothing held the object any longer; it is gone
	FactCollectRequested  = "collect-requested"  // garbage: all owners are gone; the object is to go
	FactCollected         = "collected"          // garbage: all owners are gone; so is the object
	FactOrphaned          = "orphaned"           // garbage: an owner was deleted with orphan; its reference is taken off
	FactDependentsGone    = "dependents-gone"    // garbage: what a deletion waited for is done; its finalizer is taken off
	FactSweepRequested    = "sweep-requested"    // namespaces: the namespace goes, so this object is to go
	FactSwept             = "swept"              // namespaces: the namespace goes, so the object is gone
	FactProvisioned       = "provisioned"        // namespaces: an object that always exists was made
)

// Types with an intent of their own.
const (
	ClusterInitialized Type = "dev.periplus.cluster.initialized.v1" // first event of every log

	DeploymentScaled           Type = "dev.periplus.deployment.scaled.v1"
	DeploymentTemplateChanged  Type = "dev.periplus.deployment.template-changed.v1"
	DeploymentRestarted        Type = "dev.periplus.deployment.restarted.v1"
	DeploymentRolledBack       Type = "dev.periplus.deployment.rolled-back.v1"
	DeploymentPaused           Type = "dev.periplus.deployment.paused.v1"
	DeploymentResumed          Type = "dev.periplus.deployment.resumed.v1"
	DeploymentRevisionRecorded Type = "dev.periplus.deployment.revision-recorded.v1"

	ReplicaSetScaled          Type = "dev.periplus.replicaset.scaled.v1"           // by a person
	ReplicaSetTemplateChanged Type = "dev.periplus.replicaset.template-changed.v1" // by a person
	ReplicaSetRolledOut       Type = "dev.periplus.replicaset.rolled-out.v1"       // made for a new revision of its deployment
	ReplicaSetStepped         Type = "dev.periplus.replicaset.stepped.v1"          // scaled by a rollout or because its deployment was scaled
	ReplicaSetRevised         Type = "dev.periplus.replicaset.revised.v1"          // an old set serves a newer revision again, or follows its deployment's settings
	ReplicaSetAdopted         Type = "dev.periplus.replicaset.adopted.v1"
	ReplicaSetReleased        Type = "dev.periplus.replicaset.released.v1"
	ReplicaSetPruned          Type = "dev.periplus.replicaset.pruned.v1" // beyond revisionHistoryLimit; gone

	PodRequested     Type = "dev.periplus.pod.requested.v1" // made to fill a slot of a replica set
	PodRetired       Type = "dev.periplus.pod.retired.v1"   // to go because its replica set needs fewer
	PodAdopted       Type = "dev.periplus.pod.adopted.v1"
	PodReleased      Type = "dev.periplus.pod.released.v1"
	PodMatured       Type = "dev.periplus.pod.matured.v1"       // ready for minReadySeconds: available
	PodBound         Type = "dev.periplus.pod.bound.v1"         // to a node by a person or an outside scheduler
	PodScheduled     Type = "dev.periplus.pod.scheduled.v1"     // to a node by the scheduler
	PodUnschedulable Type = "dev.periplus.pod.unschedulable.v1" // the scheduler found no node

	PodSandboxCreated     Type = "dev.periplus.pod.sandbox-created.v1" // namespaces and address are there
	PodRejected           Type = "dev.periplus.pod.rejected.v1"        // the node cannot run it; phase Failed
	PodStopping           Type = "dev.periplus.pod.stopping.v1"        // its containers were told to end
	PodStopped            Type = "dev.periplus.pod.stopped.v1"         // nothing of it is left on its node
	ImagePullStarted      Type = "dev.periplus.image.pull-started.v1"
	ImagePulled           Type = "dev.periplus.image.pulled.v1"
	ImagePullFailed       Type = "dev.periplus.image.pull-failed.v1"
	ContainerStarted      Type = "dev.periplus.container.started.v1"
	ContainerStartFailed  Type = "dev.periplus.container.start-failed.v1"
	ContainerExited       Type = "dev.periplus.container.exited.v1"
	ContainerBackingOff   Type = "dev.periplus.container.backing-off.v1"
	ContainerReadyChanged Type = "dev.periplus.container.readiness-changed.v1"

	NodeRegistered Type = "dev.periplus.node.registered.v1"
	NodeReady      Type = "dev.periplus.node.ready.v1"
	NodeCordoned   Type = "dev.periplus.node.cordoned.v1"
	NodeUncordoned Type = "dev.periplus.node.uncordoned.v1"
	NodeTainted    Type = "dev.periplus.node.taints-changed.v1"

	NamespaceEmptied Type = "dev.periplus.namespace.emptied.v1" // the last of its content is gone, and so is the namespace
)

// Spec is what is known of a type.
type Spec struct {
	Owner    string // the one component that appends it
	Half     Half
	Fat      bool // the payload is a State
	Terminal bool // after it the object (or this half of it) is no more
}

var (
	doorFat      = Spec{Owner: OwnerDoor, Fat: true}
	deployments  = Spec{Owner: OwnerDeployments, Fat: true}
	replicas     = Spec{Owner: OwnerReplicas, Fat: true}
	garbage      = Spec{Owner: OwnerGarbage, Fat: true}
	namespaces   = Spec{Owner: OwnerNamespaces, Fat: true}
	nodeObserved = Spec{Owner: OwnerNode, Half: Actual}
)

func terminal(s Spec) Spec { s.Terminal = true; return s }

// facts holds the facts that any kind can have.
var facts = map[string]Spec{
	FactCreated: doorFat, FactSpecChanged: doorFat, FactDataChanged: doorFat, FactMetadataChanged: doorFat,
	FactDeletionRequested: doorFat, FactDeleted: terminal(doorFat),
	FactStatusReported:   {Owner: OwnerDoor, Half: Actual},
	FactFinalized:        terminal(garbage),
	FactCollectRequested: garbage,
	FactCollected:        terminal(garbage),
	FactOrphaned:         garbage,
	FactDependentsGone:   garbage,
	FactSweepRequested:   namespaces,
	FactSwept:            terminal(namespaces),
	FactProvisioned:      namespaces,
}

// types holds the types with an intent of their own.
var types = map[Type]Spec{
	ClusterInitialized: doorFat,

	DeploymentScaled: doorFat, DeploymentTemplateChanged: doorFat, DeploymentRestarted: doorFat,
	DeploymentRolledBack: doorFat, DeploymentPaused: doorFat, DeploymentResumed: doorFat,
	DeploymentRevisionRecorded: deployments,

	ReplicaSetScaled: doorFat, ReplicaSetTemplateChanged: doorFat,
	ReplicaSetRolledOut: deployments, ReplicaSetStepped: deployments, ReplicaSetRevised: deployments,
	ReplicaSetAdopted: deployments, ReplicaSetReleased: deployments, ReplicaSetPruned: terminal(deployments),

	PodRequested: replicas, PodRetired: replicas, PodAdopted: replicas, PodReleased: replicas,
	PodMatured:       {Owner: OwnerReplicas, Half: Actual},
	PodBound:         doorFat,
	PodScheduled:     {Owner: OwnerScheduler},
	PodUnschedulable: {Owner: OwnerScheduler, Half: Actual},

	PodSandboxCreated: nodeObserved, PodRejected: nodeObserved, PodStopping: nodeObserved, PodStopped: terminal(nodeObserved),
	ImagePullStarted: nodeObserved, ImagePulled: nodeObserved, ImagePullFailed: nodeObserved,
	ContainerStarted: nodeObserved, ContainerStartFailed: nodeObserved, ContainerExited: nodeObserved,
	ContainerBackingOff: nodeObserved, ContainerReadyChanged: nodeObserved,

	NodeRegistered: nodeObserved, NodeReady: nodeObserved,
	NodeCordoned: doorFat, NodeUncordoned: doorFat, NodeTainted: doorFat,

	NamespaceEmptied: terminal(namespaces),
}

// Lookup returns what is known of a type; ok is false for an unknown one.
func Lookup(t Type) (spec Spec, ok bool) {
	if spec, ok = types[t]; ok {
		return spec, true
	}
	if t != TypeOf(t.Kind(), t.Fact()) || t.Kind() == "" {
		return Spec{}, false
	}
	spec, ok = facts[t.Fact()]
	return spec, ok
}

// Types lists the types with an intent of their own, sorted.
func Types() []Type { return slices.Sorted(maps.Keys(types)) }

// Facts lists the facts that any kind can have, sorted.
func Facts() []string { return slices.Sorted(maps.Keys(facts)) }
