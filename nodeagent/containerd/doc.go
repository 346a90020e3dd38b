// Package containerd runs pods on this machine: the contract of
// nodeagent/runtime on a private containerd, with runc and overlay snapshots.
//
// It promises that nothing which runs depends on this process: containerd is
// started in a session of its own (daemon.go) and started again when it dies;
// all that has to survive is in containerd's labels, in a folder per sandbox and
// in the log files. [Start] finds it there and goes on.
//
// A pod has no process of its own. Its namespaces are pinned to files
// (nodeagent/network), its containers join them, and share one shim. Logs come
// through FIFOs (pipe.go) that the shim holds open while this process is away.
// When a container exits, its end is written to its labels and its task deleted
// (harvest in task.go), so that a finished pod costs no process.
//
// Where things are, below Config.Dir:
//
//	containerd/   its config, socket, state, content and output
//	sandboxes/    a folder for each pod: sandbox.json, ns/, etc/, started/
//	fifo/         a folder for each container that runs
//	pods/         logs: NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log
//
// Start reading at [Start], then sandbox.go and start.go.
package containerd
