package volume_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"periplus.dev/nodeagent/runtime"
	"periplus.dev/nodeagent/volume"
)

type objects struct {
	configMaps map[string]*corev1.ConfigMap
	secrets    map[string]*corev1.Secret
}

func (o objects) ConfigMap(name string) (*corev1.ConfigMap, bool) {
	m, ok := o.configMaps[name]
	return m, ok
}

func (o objects) Secret(name string) (*corev1.Secret, bool) { s, ok := o.secrets[name]; return s, ok }

var there = objects{
	configMaps: map[string]*corev1.ConfigMap{"cfg": {Data: map[string]string{"a": "1", "b": "2"}, BinaryData: map[string][]byte{"bin": {0}}}},
	secrets:    map[string]*corev1.Secret{"sec": {Data: map[string][]byte{"pw": []byte("x")}}},
}

func podWith(sources ...corev1.VolumeSource) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u1", Labels: map[string]string{"app": `x"y`}}}
	for i, s := range sources {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: string(rune('a' + i)), VolumeSource: s})
	}
	return p
}

func configMap(items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}, Items: items}}
}

func plan(t *testing.T, p *corev1.Pod) []volume.Volume {
	t.Helper()
	v, err := volume.Plan(p, there, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestPlan(t *testing.T) {
	mode := int32(0o400)
	downward := []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}
	limit := resource.MustParse("8Mi")
	v := plan(t, podWith(
		configMap(corev1.KeyToPath{Key: "a", Path: "x/y", Mode: &mode}),
		corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sec", DefaultMode: &mode}},
		corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: downward}},
		corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}},
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "sec"}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: downward}},
		}}},
		corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &limit}},
	))
	if f := v[0].Files; len(f) != 1 || f[0].Path != "x/y" || string(f[0].Data) != "1" || f[0].Mode != 0o400 || v[0].Memory {
		t.Errorf("configMap: %+v", v[0])
	}
	if f := v[1].Files; len(f) != 1 || f[0].Mode != 0o400 || !v[1].Memory {
		t.Errorf("secret: %+v", v[1])
	}
	if f := v[2].Files; len(f) != 1 || string(f[0].Data) != `app="x\"y"` {
		t.Errorf("downwardAPI: %+v", v[2])
	}
	if f := v[3].Files; len(f) != 5 || !v[3].Memory {
		t.Errorf("projected: %+v", v[3])
	}
	if v[4].Kind != volume.Empty || !v[4].Memory || v[4].Limit != 8<<20 {
		t.Errorf("emptyDir: %+v", v[4])
	}
}

func TestPlanRefuses(t *testing.T) {
	yes := true
	for _, tc := range []struct {
		name    string
		source  corev1.VolumeSource
		missing bool
		want    string
	}{
		{"configMap", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}}}, true,
			`MountVolume.SetUp failed for volume "a" : configmap "no" not found`},
		{"optional configMap", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "no"}, Optional: &yes}}, false, ""},
		{"secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "no"}}, true, `MountVolume.SetUp failed for volume "a" : secret "no" not found`},
		{"key", configMap(corev1.KeyToPath{Key: "z", Path: "z"}), true, "configmap references non-existent key: z"},
		{"way out", configMap(corev1.KeyToPath{Key: "a", Path: "../../etc/passwd"}), false, "leads out of the volume"},
		{"absolute", configMap(corev1.KeyToPath{Key: "a", Path: "/etc/passwd"}), false, "leads out of the volume"},
		{"field", corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{
			{Path: "x", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.x"}},
		}}}, false, `fieldPath "spec.x" is not supported`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := volume.Plan(podWith(tc.source), there, nil)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) || errors.Is(err, volume.ErrMissing) != tc.missing {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestCheckNamesTheVolume(t *testing.T) {
	if err := volume.Check(podWith(configMap(), corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}})); err != nil {
		t.Error(err)
	}
	for _, s := range []corev1.VolumeSource{
		{NFS: &corev1.NFSVolumeSource{}},
		{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}}}},
	} {
		if err := volume.Check(podWith(s)); err == nil || !strings.Contains(err.Error(), `volume "a"`) {
			t.Errorf("error %v", err)
		}
	}
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFilesChangeAtOneStroke(t *testing.T) {
	d := volume.Dir{Root: t.TempDir()}
	pod := podWith(configMap())
	set := func() {
		t.Helper()
		if err := d.Set("u1", plan(t, pod), nil); err != nil {
			t.Fatal(err)
		}
	}
	set()
	v := filepath.Join(d.Root, "u1", "a")
	if read(t, v, "a") != "1" || read(t, v, "b") != "2" {
		t.Error("wrong content")
	}
	version, err := os.Readlink(filepath.Join(v, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	set()
	if again, _ := os.Readlink(filepath.Join(v, "..data")); again != version {
		t.Errorf("the same content is another version: %s, %s", version, again)
	}
	// A reader that holds the old version open reads it to its end.
	open, err := os.Open(filepath.Join(v, "..data", "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	before := there.configMaps["cfg"]
	there.configMaps["cfg"] = &corev1.ConfigMap{Data: map[string]string{"a": "new", "c": "3"}}
	defer func() { there.configMaps["cfg"] = before }()
	set()
	if read(t, v, "a") != "new" || read(t, v, "c") != "3" {
		t.Error("wrong content after the change")
	}
	if _, err := os.Lstat(filepath.Join(v, "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is no more: %v", err)
	}
	if _, err := os.Stat(filepath.Join(v, version)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old version is still there: %v", err)
	}
	if err := d.Remove("u1"); err != nil {
		t.Fatal(err)
	}
	if uids, err := d.Pods(); err != nil || len(uids) != 0 {
		t.Errorf("left %v, %v", uids, err)
	}
	if err := d.Remove("u1"); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestSecretsStayInMemory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	d := volume.Dir{Root: t.TempDir()}
	pod := podWith(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "sec"}}, corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}})
	defer func() {
		if err := d.Remove("u1"); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		if err := d.Set("u1", plan(t, pod), nil); err != nil {
			t.Skipf("tmpfs cannot be mounted here: %v", err)
		}
	}
	if read(t, d.Root, "u1", "a", "pw") != "x" {
		t.Error("wrong content")
	}
	mounts := strings.Count(read(t, "/proc/self/mountinfo"), " "+filepath.Join(d.Root, "u1"))
	if mounts != 2 {
		t.Errorf("%d mounts, want 2", mounts)
	}
	if err := d.Purge(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(read(t, "/proc/self/mountinfo"), d.Root) {
		t.Error("a mount is left")
	}
}

func TestGroupOwnsItsVolumes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("giving files away needs root")
	}
	d, group := volume.Dir{Root: t.TempDir()}, int64(1234)
	if err := d.Set("u1", plan(t, podWith(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, configMap())), &group); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(filepath.Join(d.Root, "u1", "a"))
	if err != nil || st.Mode()&fs.ModeSetgid == 0 || st.Mode().Perm() != 0o777 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestMounts(t *testing.T) {
	d := volume.Dir{Root: t.TempDir()}
	host := t.TempDir()
	pod := podWith(corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}, configMap(), corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: host}})
	v := plan(t, pod)
	if err := d.Set("u1", v, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(d.Root, "u1", "a", "escape")); err != nil {
		t.Fatal(err)
	}
	known := func(s string) (string, error) { return strings.ReplaceAll(s, "$(NAME)", "web"), nil }
	mount := func(m corev1.VolumeMount) (runtime.Mount, error) {
		ms, err := d.Mounts("u1", v, &corev1.Container{VolumeMounts: []corev1.VolumeMount{m}}, known)
		if err != nil {
			return runtime.Mount{}, err
		}
		return ms[0], nil
	}
	for _, tc := range []struct {
		mount corev1.VolumeMount
		path  string // below the volume
		ro    bool
	}{
		{corev1.VolumeMount{Name: "a", MountPath: "/x"}, filepath.Join(d.Root, "u1", "a"), false},
		{corev1.VolumeMount{Name: "a", MountPath: "/x", SubPath: "sub/dir"}, filepath.Join(d.Root, "u1", "a", "sub", "dir"), false},
		{corev1.VolumeMount{Name: "a", MountPath: "/x", SubPathExpr: "$(NAME)"}, filepath.Join(d.Root, "u1", "a", "web"), false},
		{corev1.VolumeMount{Name: "b", MountPath: "/x"}, filepath.Join(d.Root, "u1", "b"), true},
		{corev1.VolumeMount{Name: "c", MountPath: "/x", ReadOnly: true}, host, true},
	} {
		got, err := mount(tc.mount)
		if want := (runtime.Mount{HostPath: tc.path, ContainerPath: "/x", ReadOnly: tc.ro}); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if got, err := mount(corev1.VolumeMount{Name: "b", MountPath: "/x", SubPath: "a"}); err != nil || read(t, got.HostPath) != "1" {
		t.Errorf("a file of a volume: %+v, %v", got, err)
	}
	for _, sub := range []string{"../..", "/etc", "escape", "escape/passwd", "escape/new"} {
		if got, err := mount(corev1.VolumeMount{Name: "a", MountPath: "/x", SubPath: sub}); err == nil {
			t.Errorf("subPath %q leads to %s", sub, got.HostPath)
		}
	}
	if _, err := mount(corev1.VolumeMount{Name: "none", MountPath: "/x"}); err == nil {
		t.Error("a volume that is not there")
	}
}

func TestHostPathTypes(t *testing.T) {
	d, base := volume.Dir{Root: t.TempDir()}, t.TempDir()
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		kind corev1.HostPathType
		ok   bool
	}{
		{base, corev1.HostPathDirectory, true}, {file, corev1.HostPathDirectory, false}, {file, corev1.HostPathFile, true},
		{filepath.Join(base, "new"), corev1.HostPathDirectory, false}, {filepath.Join(base, "new"), corev1.HostPathDirectoryOrCreate, true},
		{filepath.Join(base, "made"), corev1.HostPathFileOrCreate, true}, {file, corev1.HostPathSocket, false},
		{"/dev/null", corev1.HostPathCharDev, true}, {file, corev1.HostPathUnset, true},
	} {
		err := d.Set("u1", []volume.Volume{{Name: "h", Kind: volume.Host, Path: tc.path, Type: tc.kind}}, nil)
		if (err == nil) != tc.ok {
			t.Errorf("%s as %q: %v", tc.path, tc.kind, err)
		}
	}
}

func TestNoDirMakesNothing(t *testing.T) {
	var d volume.Dir
	v := plan(t, podWith(configMap()))
	if err := d.Set("u1", v, nil); err != nil {
		t.Fatal(err)
	}
	m, err := d.Mounts("u1", v, &corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "a", MountPath: "/x", SubPath: "a"}}}, nil)
	if err != nil || len(m) != 1 || !filepath.IsAbs(m[0].HostPath) {
		t.Errorf("%+v, %v", m, err)
	}
}
