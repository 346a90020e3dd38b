package history

import (
	"encoding/json"
	"slices"

	"periplus.dev/events"
)

// Changed lists the paths of the fields that an event made different, sorted,
// never nil. A fat event and a reported status say so themselves. For any other
// fact about the actual half they are the fields that the fact decides, in terms
// of the Kubernetes object:
//
//	pod.scheduled                spec.nodeName
//	container.started            status.containerStatuses[web].state, …
//
// A container stands there by its name, and under containerStatuses even if it
// is an init container: the fact doesn't tell. Conditions stand there by type.
// Facts that no field shows, such as image.pull-started, have none.
func Changed(r events.Recorded) []string {
	var data struct {
		Changed   []string `json:"changed"`
		Container string   `json:"container"`
	}
	if json.Unmarshal(r.Data, &data) != nil {
		return []string{}
	}
	paths := data.Changed
	if of, ok := observedPaths[r.Type]; ok {
		paths = append(slices.Clone(of.object), inContainer(data.Container, of.container)...)
	}
	if paths == nil {
		return []string{}
	}
	slices.Sort(paths)
	return paths
}

// fields are what a fact decides: fields of the object, and fields in the status
// of the container that it speaks of.
type fields struct{ object, container []string }

func inContainer(name string, fields []string) []string {
	var out []string
	for _, f := range fields {
		out = append(out, "status.containerStatuses["+name+"]."+f)
	}
	return out
}

// observedPaths holds every thin type. What follows from several facts at once,
// such as a pod's phase or the condition Ready, stands only where the fact alone
// decides it.
var observedPaths = map[events.Type]fields{
	events.PodScheduled:     {object: []string{"spec.nodeName", "status.conditions[PodScheduled]"}},
	events.PodUnschedulable: {object: []string{"status.conditions[PodScheduled]"}},
	events.PodMatured:       {},

	events.PodSandboxCreated: {object: []string{
		"status.conditions[PodReadyToStartContainers]", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs", "status.startTime",
	}},
	events.PodRejected: {object: []string{"status.message", "status.phase", "status.reason"}},
	events.PodStopping: {},
	events.PodStopped:  {object: []string{"status.conditions[PodReadyToStartContainers]", "status.conditions[Ready]"}},

	events.ImagePullStarted: {},
	events.ImagePulled:      {container: []string{"state"}},
	events.ImagePullFailed:  {container: []string{"state"}},

	events.ContainerStarted:      {container: []string{"containerID", "image", "imageID", "ready", "restartCount", "started", "state"}},
	events.ContainerStartFailed:  {container: []string{"lastState", "ready", "restartCount", "started", "state"}},
	events.ContainerExited:       {container: []string{"ready", "started", "state"}},
	events.ContainerBackingOff:   {container: []string{"lastState", "state"}},
	events.ContainerReadyChanged: {container: []string{"ready"}},

	events.NodeRegistered: {object: []string{
		"metadata.labels", "spec.podCIDR", "status.addresses", "status.allocatable", "status.capacity", "status.nodeInfo",
	}},
	events.NodeReady: {object: []string{"status.conditions[Ready]"}},
}
