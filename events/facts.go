package events

import "time"

// Payloads of thin events. Every field is part of the wire format.

// Scheduled is the payload of [PodScheduled]: the node chosen, and from what.
type Scheduled struct {
	UID        string      `json:"uid"`
	Node       string      `json:"node"`
	Candidates []Candidate `json:"candidates"`
}

// Candidate is what the scheduler thought of one node.
type Candidate struct {
	Node   string `json:"node"`
	Fits   bool   `json:"fits"`
	Reason string `json:"reason,omitempty"` // why it does not fit: "Insufficient cpu"
	Score  int    `json:"score,omitempty"`  // 0 to 100 for a node that fits
}

// Unschedulable is the payload of [PodUnschedulable].
type Unschedulable struct {
	UID        string      `json:"uid"`
	Message    string      `json:"message"` // as kubectl shows it: "0/3 nodes are available: 3 Insufficient cpu."
	Candidates []Candidate `json:"candidates"`
}

// Matured is the payload of [PodMatured].
type Matured struct {
	UID string `json:"uid"`
}

// SandboxCreated is the payload of [PodSandboxCreated].
type SandboxCreated struct {
	UID     string   `json:"uid"`
	PodIPs  []string `json:"podIPs"`
	HostIPs []string `json:"hostIPs"`
}

// Rejected is the payload of [PodRejected].
type Rejected struct {
	UID     string `json:"uid"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Stopping is the payload of [PodStopping].
type Stopping struct {
	UID          string `json:"uid"`
	GraceSeconds int64  `json:"graceSeconds"`
}

// Stopped is the payload of [PodStopped].
type Stopped struct {
	UID string `json:"uid"`
}

// PullStarted is the payload of [ImagePullStarted].
type PullStarted struct {
	UID       string `json:"uid"`
	Container string `json:"container"`
	Image     string `json:"image"`
}

// Pulled is the payload of [ImagePulled].
type Pulled struct {
	UID            string `json:"uid"`
	Container      string `json:"container"`
	Image          string `json:"image"`
	Digest         string `json:"digest"` // of the manifest that was resolved: "sha256:…"
	Bytes          int64  `json:"bytes,omitempty"`
	Millis         int64  `json:"millis,omitempty"`
	AlreadyPresent bool   `json:"alreadyPresent,omitempty"`
}

// PullFailed is the payload of [ImagePullFailed].
type PullFailed struct {
	UID       string    `json:"uid"`
	Container string    `json:"container"`
	Image     string    `json:"image"`
	Reason    string    `json:"reason"` // ErrImagePull, ErrImageNeverPull, InvalidImageName
	Message   string    `json:"message"`
	RetryAt   time.Time `json:"retryAt,omitzero"` // zero: it is not tried again
}

// Started is the payload of [ContainerStarted].
type Started struct {
	UID       string    `json:"uid"`
	Container string    `json:"container"`
	ID        string    `json:"id"`      // of the runtime, without scheme
	Attempt   int       `json:"attempt"` // 0 for the first start
	Image     string    `json:"image"`
	ImageID   string    `json:"imageID"` // repository@sha256:…
	At        time.Time `json:"at"`
	Ready     bool      `json:"ready"` // true unless a readiness probe decides later
}

// StartFailed is the payload of [ContainerStartFailed]: the container never ran.
type StartFailed struct {
	UID       string    `json:"uid"`
	Container string    `json:"container"`
	Attempt   int       `json:"attempt"`
	Reason    string    `json:"reason"` // StartError, CreateContainerError, CreateContainerConfigError, RunContainerError
	Message   string    `json:"message"`
	ExitCode  int       `json:"exitCode,omitempty"` // 128 for a start error, as upstream reports it; 0 if it was not created
	At        time.Time `json:"at"`
	RetryAt   time.Time `json:"retryAt,omitzero"`
}

// Exited is the payload of [ContainerExited].
type Exited struct {
	UID        string    `json:"uid"`
	Container  string    `json:"container"`
	ID         string    `json:"id"`
	Attempt    int       `json:"attempt"`
	ExitCode   int       `json:"exitCode"`
	Reason     string    `json:"reason"` // Completed, Error, OOMKilled, ContainerStatusUnknown
	Message    string    `json:"message,omitempty"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt"`
}

// BackingOff is the payload of [ContainerBackingOff]: the container will be
// started again, but not before a time.
type BackingOff struct {
	UID       string    `json:"uid"`
	Container string    `json:"container"`
	Attempt   int       `json:"attempt"` // of the start that is put off
	Until     time.Time `json:"until"`
	Message   string    `json:"message"` // as upstream: "back-off 10s restarting failed container=…"
}

// ReadyChanged is the payload of [ContainerReadyChanged].
type ReadyChanged struct {
	UID       string `json:"uid"`
	Container string `json:"container"`
	Ready     bool   `json:"ready"`
	Message   string `json:"message,omitempty"`
}

// Registered is the payload of [NodeRegistered]: what a node is and has.
type Registered struct {
	UID         string            `json:"uid"`
	Labels      map[string]string `json:"labels"`
	Addresses   []Address         `json:"addresses"`
	Capacity    map[string]string `json:"capacity"`    // resource name to quantity
	Allocatable map[string]string `json:"allocatable"` // as Capacity
	PodCIDR     string            `json:"podCIDR"`
	Info        NodeInfo          `json:"info"`
}

// Address is one address of a node: Type is InternalIP or Hostname.
type Address struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// NodeInfo describes the software and the machine of a node.
type NodeInfo struct {
	MachineID        string `json:"machineID"`
	BootID           string `json:"bootID"`
	KernelVersion    string `json:"kernelVersion"`
	OSImage          string `json:"osImage"`
	OperatingSystem  string `json:"operatingSystem"`
	Architecture     string `json:"architecture"`
	ContainerRuntime string `json:"containerRuntime"` // "containerd://1.6.20"
	AgentVersion     string `json:"agentVersion"`
}

// Readiness is the payload of [NodeReady].
type Readiness struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Registration is a fingerprint of the registration that it is about, so that
	// an agent that starts again sees that nothing is different.
	Registration string `json:"registration,omitempty"`
}

// StatusReported is the payload of the status-reported fact of every kind.
type StatusReported struct {
	UID    string `json:"uid"`
	Status any    `json:"status"`
	// Changed are the paths of the fields that differ, such as "status.phase".
	Changed []string `json:"changed,omitempty"`
}
