package runtime

import (
	"io"
	"time"
)

// Pod names a pod. UID is what counts; the rest is for people and paths.
type Pod struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Node      string `json:"node,omitempty"`
}

// SandboxSpec is what a pod's containers share.
type SandboxSpec struct {
	Pod         Pod
	Hostname    string            // empty: the pod's name
	Labels      map[string]string // kept and returned by List; nothing else is done with them
	ResolvConf  string            // content of /etc/resolv.conf; empty: the node's own
	HostAliases []HostAlias       // more lines for /etc/hosts
	HostNetwork bool              // the node's network instead of its own
	HostPorts   []PortMapping     // may be refused with ErrUnsupported
}

// HostAlias is a line of /etc/hosts.
type HostAlias struct {
	IP    string
	Names []string
}

// PortMapping is a port of the node that leads into the pod.
type PortMapping struct {
	Protocol      string // TCP, UDP or SCTP
	HostIP        string // empty: every address
	HostPort      int
	ContainerPort int
}

// Sandbox is what CreateSandbox made.
type Sandbox struct {
	IPs         []string // the pod's address first; the node's with HostNetwork
	HostNetwork bool
	Labels      map[string]string
	CreatedAt   time.Time // UTC
}

// Image is an image that is present on the node.
type Image struct {
	Ref     string // full name: "docker.io/library/nginx:latest"
	ID      string // as Kubernetes shows it: "docker.io/library/nginx@sha256:…"
	Digest  string // of the manifest or index that Ref resolved to: "sha256:…"
	Bytes   int64  // compressed size of what this platform needs
	Present bool   // of a pull: all of it had been here before
}

// ContainerSpec is one attempt to run a container.
type ContainerSpec struct {
	Pod     Pod
	Name    string
	Attempt int // 0 for the first
	Labels  map[string]string

	Image      string   // as written in the pod; it has to be present
	Command    []string // replaces the image's entrypoint and its arguments; empty: the image's
	Args       []string // replaces the image's arguments
	Env        []string // "NAME=value"; wins over the image's
	WorkingDir string   // empty: the image's
	Stdin      bool     // keeps standard input open; nothing is attached to it
	TTY        bool

	Mounts    []Mount
	Resources Resources
	Security  Security
}

// Mount shows a file or directory of the node to a container.
type Mount struct {
	HostPath      string // absolute; has to exist
	ContainerPath string // absolute
	ReadOnly      bool
}

// Resources limits a container. Zero: no limit, and the least share.
type Resources struct {
	CPURequestMillis int64 // becomes a share, relative to other containers
	CPULimitMillis   int64
	MemoryLimitBytes int64
}

// Security says as whom a container runs and what it may do.
type Security struct {
	RunAsUser          *int64 // nil: the image's
	RunAsGroup         *int64 // nil: the image's, or the user's own
	SupplementalGroups []int64
	RunAsNonRoot       bool // refuse to start as user 0
	ReadOnlyRoot       bool
	Privileged         bool     // all that the node itself may do, its devices, no system call filter
	NoPrivilegeGain    bool     // allowPrivilegeEscalation: false
	AddCapabilities    []string // to the usual ones: "NET_ADMIN", or "ALL"
	DropCapabilities   []string // from them, before any is added
}

// Container is one attempt that was started.
type Container struct {
	ID        string // 64 hexadecimal digits, the same for the same pod, name and attempt
	Name      string
	Attempt   int
	ImageID   string    // as Image.ID
	StartedAt time.Time // UTC
}

// Phase is where a container stands.
//
//	Created -start-> Running -exit-> Exited
//	any of them     -machine restarted, shim killed-> Lost
//	any of them     -cannot be asked now-> Unknown -answers again-> what it is
type Phase string

// Phases of a container.
const (
	Created Phase = "Created" // made, not started: an attempt that a crash cut short; StartContainer goes on with it
	Running Phase = "Running"
	Exited  Phase = "Exited"  // ExitCode and FinishedAt are true
	Lost    Phase = "Lost"    // it does not run, and how it ended nobody knows
	Unknown Phase = "Unknown" // the runtime cannot tell now; look again
)

// ContainerState is the truth about one attempt.
type ContainerState struct {
	Container
	Labels     map[string]string
	Phase      Phase
	ExitCode   int       // 128+n if killed by signal n
	OOMKilled  bool      // it was killed because its memory ran out
	FinishedAt time.Time // UTC
}

// PodState is all that is on the node for one pod.
type PodState struct {
	Pod        Pod
	Sandbox    *Sandbox         // nil: it was lost or never completed; CreateSandbox or RemoveSandbox
	Containers []ContainerState // by name, then attempt
}

// ExecSpec is a command for a running container.
type ExecSpec struct {
	Command []string
	Stdin   io.Reader   // nil: none
	Stdout  io.Writer   // nil: thrown away
	Stderr  io.Writer   // nil: thrown away; not used with TTY
	TTY     bool        // all output goes to Stdout
	Resize  <-chan Size // with TTY: the window's size, at first and when it changes; may be nil
}

// Size of a terminal in characters.
type Size struct{ Width, Height uint16 }

// LogOptions chooses a part of a log. The zero value is all of it.
type LogOptions struct {
	Previous   bool      // of the attempt before the newest
	Follow     bool      // go on until the container has exited
	Tail       *int64    // only the last lines; nil: all
	Since      time.Time // only what was printed from then on
	Timestamps bool      // each line begins with its time, RFC 3339 with nanoseconds
	LimitBytes *int64    // stop after as many bytes; nil: no limit
}

// Info describes a node.
type Info struct {
	Runtime, RuntimeVersion string // "containerd", "1.6.20"
	Hostname                string
	KernelVersion           string
	OSImage                 string // "Debian GNU/Linux 12 (bookworm)"
	OperatingSystem         string // GOOS
	Architecture            string // GOARCH
	MachineID, BootID       string
	CPUMillis               int64
	MemoryBytes             int64
	StorageBytes            int64 // of the file system that holds images and containers
	MaxPods                 int
	PodCIDR                 string
	Addresses               []string // of the node, the one that pods reach it by first
}
