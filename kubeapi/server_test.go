package kubeapi

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func onePod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "nginx"}}},
	}
}

func TestPodLifecycle(t *testing.T) {
	c := start(t, nil)
	pods := c.client.CoreV1().Pods("default")
	made, err := pods.Create(t.Context(), onePod("web"), metav1.CreateOptions{})
	must(t, err)
	if made.ResourceVersion == "" || made.Generation != 1 || made.Status.Phase != corev1.PodPending || made.Spec.ServiceAccountName != "default" {
		t.Errorf("created %+v", made)
	}
	got, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
	must(t, err)
	if got.ResourceVersion != made.ResourceVersion {
		t.Errorf("read version %s, wrote %s", got.ResourceVersion, made.ResourceVersion)
	}
	must(t, pods.Delete(t.Context(), "web", metav1.DeleteOptions{}))
	if r := c.last(t, "core/pods/default/web"); r.Type.Short() != "pod.deleted" || r.Actor != "user:admin" {
		t.Errorf("last event %s by %s", r.Type, r.Actor)
	}
}
