package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"periplus.dev/events"
)

// Sentence says in one line, without control characters, what an event records:
// "scaled from 2 to 5", "container web exited with 137 (OOMKilled)". The object
// it is about is not named; it stands beside the sentence wherever it is shown.
//
// before is the event that recorded the previous state of the same half
// ([events.State.Previous]), or the zero value if it is not at hand: then the
// sentence says less. A type that is not known is told by its fact.
func Sentence(r, before events.Recorded) string {
	if say, ok := observations[r.Type]; ok {
		return OneLine(say(r))
	}
	t, ok := tell(r, before)
	if !ok {
		return OneLine(plain(r) + " (what it says cannot be read)")
	}
	if say, ok := intents[r.Type]; ok {
		return OneLine(say(t))
	}
	if say, ok := general[r.Type.Fact()]; ok {
		return OneLine(say(t))
	}
	return OneLine(plain(r) + paths(": ", t.changed))
}

// Failed reports whether an event records that something did not work.
func Failed(r events.Recorded) bool {
	switch r.Type {
	case events.PodUnschedulable, events.PodRejected, events.ImagePullFailed, events.ContainerStartFailed, events.ContainerBackingOff:
		return true
	case events.ContainerExited:
		d, err := events.Decode[events.Exited](r)
		return err != nil || d.ExitCode != 0
	default:
		return false
	}
}

// plain is the fact in words: "taints changed".
func plain(r events.Recorded) string { return strings.ReplaceAll(r.Type.Fact(), "-", " ") }

// telling is what the sentence about a fat event, or a reported status, is made of.
type telling struct {
	changed     []string
	now, before wanted // zero if there is none
	hasBefore   bool
}

// wanted is what sentences need of a desired half, of whatever kind.
type wanted struct {
	Metadata struct {
		Annotations     map[string]string `json:"annotations"`
		Finalizers      []string          `json:"finalizers"`
		OwnerReferences []owner           `json:"ownerReferences"`
		Grace           *int64            `json:"deletionGracePeriodSeconds"`
	} `json:"metadata"`
	Spec struct {
		podSpec

		NodeName string   `json:"nodeName"`
		Replicas *int64   `json:"replicas"`
		Taints   []taint  `json:"taints"`
		Template template `json:"template"`
	} `json:"spec"`
}

type owner struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller bool   `json:"controller"`
}

type taint struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Effect string `json:"effect"`
}

type template struct {
	Spec podSpec `json:"spec"`
}

type podSpec struct {
	InitContainers []container `json:"initContainers"`
	Containers     []container `json:"containers"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

func tell(r, before events.Recorded) (telling, bool) {
	var data events.State
	if json.Unmarshal(r.Data, &data) != nil {
		return telling{}, false
	}
	t := telling{changed: data.Changed}
	// An object whose fields have other shapes is told without them.
	if json.Unmarshal(data.Object, &t.now) != nil {
		t.now = wanted{}
	}
	var old events.State
	if json.Unmarshal(before.Data, &old) == nil && len(old.Object) > 0 && before.Seq == data.Previous {
		t.hasBefore = json.Unmarshal(old.Object, &t.before) == nil
	}
	return t, true
}

// Parts of sentences.

// paths lists at most three paths after a lead, nothing if there are none.
func paths(lead string, changed []string) string {
	const most = 3
	if len(changed) == 0 {
		return ""
	}
	if more := len(changed) - most; more > 0 {
		return fmt.Sprintf("%s%s and %d more", lead, strings.Join(changed[:most], ", "), more)
	}
	return lead + strings.Join(changed, ", ")
}

// count writes "1 pod", "2 pods".
func count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// replicas is how many are asked for: 1 if the object does not say.
func (w wanted) replicas() int64 {
	if w.Spec.Replicas == nil {
		return 1
	}
	return *w.Spec.Replicas
}

// scale writes "from 2 to 5", or "to 5" if the previous state is not at hand.
func (t telling) scale() string {
	if !t.hasBefore {
		return fmt.Sprintf("to %d", t.now.replicas())
	}
	return fmt.Sprintf("from %d to %d", t.before.replicas(), t.now.replicas())
}

// containers are those of the object or of its template.
func (w wanted) containers() []container {
	for _, p := range []podSpec{w.Spec.podSpec, w.Spec.Template.Spec} {
		if all := slices.Concat(p.InitContainers, p.Containers); len(all) > 0 {
			return all
		}
	}
	return nil
}

// images lists the images of the object's containers after a lead, each once.
func (w wanted) images(lead string) string {
	var list []string
	seen := map[string]bool{}
	for _, c := range w.containers() {
		if c.Image != "" && !seen[c.Image] {
			seen[c.Image] = true
			list = append(list, c.Image)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return lead + strings.Join(list, ", ")
}

// template says after a lead what is different in a template: images from one to
// the other if both are known, the paths of all else.
func (t telling) template(lead string) string {
	var images []string
	if t.hasBefore {
		old := map[string]string{}
		for _, c := range t.before.containers() {
			old[c.Name] = c.Image
		}
		for _, c := range t.now.containers() {
			if was, ok := old[c.Name]; ok && was != c.Image {
				images = append(images, fmt.Sprintf("image of %s from %s to %s", c.Name, was, c.Image))
			}
		}
	}
	var others []string
	for _, p := range t.changed {
		if len(images) > 0 && strings.HasSuffix(p, ".image") {
			continue
		}
		if strings.HasPrefix(p, "spec.template") {
			others = append(others, p)
		}
	}
	if len(others) > 0 {
		images = append(images, paths("", others))
	}
	if len(images) == 0 {
		return lead
	}
	return lead + ": " + strings.Join(images, ", ")
}

// controller names the owner that controls the object, such as "replicaset web-7f";
// instead is for an object that has none.
func (w wanted) controller(instead string) string {
	for _, o := range w.Metadata.OwnerReferences {
		if o.Controller {
			return strings.ToLower(o.Kind) + " " + o.Name
		}
	}
	return instead
}
