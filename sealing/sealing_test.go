package sealing

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func newSealer(t interface{ Fatal(...any) }) *Sealer {
	s, err := New(NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func secret() *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "db", UID: "11", Labels: map[string]string{"app": "shop"},
			Annotations: map[string]string{
				corev1.LastAppliedConfigAnnotation: `{"data":{"password":"aHVudGVyMmh1bnRlcjI="}}`, "owner": "ann",
			},
		},
		Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"password": []byte("hunter2hunter2"), "empty": {}},
	}
}

func TestSealThenOpenIsTheSame(t *testing.T) {
	s := newSealer(t)
	before := secret()
	sealed, err := s.Seal(before)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(before, secret()) {
		t.Error("Seal modified its argument")
	}
	opened, err := s.Open(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(opened, secret()) {
		t.Errorf("opened is\n%v\nwant\n%v", opened, secret())
	}
}

func TestNothingIsLeftInTheClear(t *testing.T) {
	s := newSealer(t)
	in := secret()
	in.StringData = map[string]string{"token": "correct horse battery"}
	sealed, err := s.Seal(in)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(sealed)
	if err != nil {
		t.Fatal(err)
	}
	for _, clear := range []string{"hunter2hunter2", "correct horse battery", "aHVudGVyMmh1bnRlcjI="} {
		for _, form := range []string{clear, base64.StdEncoding.EncodeToString([]byte(clear))} {
			if strings.Contains(string(raw), form) {
				t.Errorf("%q stands in the sealed secret %s", form, raw)
			}
		}
	}
	if sealed.StringData != nil || len(sealed.Data) != 3 {
		t.Errorf("stringData was not merged: %v", sealed)
	}
	if sealed.Labels["app"] != "shop" || sealed.Annotations["owner"] != "ann" {
		t.Errorf("metadata that is not secret was changed: %v", sealed.ObjectMeta)
	}
}

func TestWhatDoesNotOpen(t *testing.T) {
	s := newSealer(t)
	for _, tc := range []struct {
		name  string
		forge func(*corev1.Secret)
		want  error
	}{
		{"never sealed", func(x *corev1.Secret) { x.Data["password"] = []byte("plain") }, ErrNotSealed},
		{"no key id", func(x *corev1.Secret) { x.Data["password"] = []byte("pp1:plain") }, ErrNotSealed},
		{"cut", func(x *corev1.Secret) { x.Data["password"] = x.Data["password"][:20] }, ErrForged},
		{"a bit flipped", func(x *corev1.Secret) { x.Data["password"][30] ^= 1 }, ErrForged},
		{"value under another field", func(x *corev1.Secret) { x.Data["empty"] = x.Data["password"] }, ErrForged},
		{"other name", func(x *corev1.Secret) { x.Name = "other" }, ErrForged},
		{"other namespace", func(x *corev1.Secret) { x.Namespace = "other" }, ErrForged},
		{"other uid", func(x *corev1.Secret) { x.UID = "12" }, ErrForged},
		{"annotation never sealed", func(x *corev1.Secret) { x.Annotations[corev1.LastAppliedConfigAnnotation] = "{}" }, ErrNotSealed},
		{"annotation not base64", func(x *corev1.Secret) { x.Annotations[corev1.LastAppliedConfigAnnotation] += "!" }, ErrForged},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sealed, err := s.Seal(secret())
			if err != nil {
				t.Fatal(err)
			}
			tc.forge(sealed)
			if _, err := s.Open(sealed); !errors.Is(err, tc.want) {
				t.Errorf("error is %v, want %v", err, tc.want)
			}
		})
	}
	sealed, err := newSealer(t).Seal(secret())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Open(sealed)
	if !errors.Is(err, ErrWrongKey) || !strings.Contains(err.Error(), "open secret shop/db") {
		t.Errorf("error is %v", err)
	}
}

func TestSealWantsAUID(t *testing.T) {
	x := secret()
	x.UID = ""
	if _, err := newSealer(t).Seal(x); err == nil {
		t.Error("a secret without uid was sealed: its values could be moved to another secret")
	}
}

func TestAnyValueRoundTrips(t *testing.T) {
	s := newSealer(t)
	rapid.Check(t, func(t *rapid.T) {
		x := secret()
		x.Data = rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.Byte())).Draw(t, "data")
		for k, v := range x.Data {
			if len(v) == 0 {
				x.Data[k] = []byte{}
			}
		}
		sealed, err := s.Seal(x)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := s.Open(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(opened, x) {
			t.Fatalf("opened %v, want %v", opened, x)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s := newSealer(f)
	f.Add([]byte("pp1:00000000:x"), "pp1::")
	f.Add([]byte(prefix+s.KeyID()+":"), prefix+s.KeyID()+":AAAA")
	f.Fuzz(func(t *testing.T, value []byte, annotation string) {
		x := secret()
		x.Data = map[string][]byte{"password": value}
		x.Annotations[corev1.LastAppliedConfigAnnotation] = annotation
		if _, err := s.Open(x); err == nil {
			t.Error("a value that was never sealed opened")
		}
	})
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, KeyFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v", info.Mode(), err)
	}
	second, err := LoadOrCreate(dir)
	if err != nil || second.KeyID() != first.KeyID() {
		t.Fatalf("a second start made another key: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(dir); err == nil || !strings.Contains(err.Error(), "hexadecimal") {
		t.Errorf("a broken key file: %v", err)
	}
}

func TestOneKeyWhenManyStart(t *testing.T) {
	dir := t.TempDir()
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if s, err := LoadOrCreate(dir); err != nil {
				t.Error(err)
			} else {
				ids[i] = s.KeyID()
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("several keys: %v", ids)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "keys"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
