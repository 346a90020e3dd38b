package pki

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, at time.Time) *Authority {
	t.Helper()
	a, err := Open(dir, func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func verify(t *testing.T, a *Authority, p Pair, at time.Time, use x509.ExtKeyUsage, host string) error {
	t.Helper()
	cert, _, err := parse(p)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: a.Roots(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{use}, DNSName: host})
	return err
}

func TestServerCertificateIsKeptUntilItHasTo(t *testing.T) {
	dir := t.TempDir()
	hosts := []string{"localhost", "127.0.0.1"}
	first, err := open(t, dir, start).Server(hosts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		at    time.Time
		hosts []string
		same  bool
	}{
		{"next day", start.Add(24 * time.Hour), hosts, true},
		{"another address", start.Add(24 * time.Hour), append(hosts, "10.0.0.7"), false},
		{"back again", start.Add(24 * time.Hour), hosts, false},
		{"near its end", start.Add(leafLife - renewBefore + 48*time.Hour), hosts, false},
	} {
		a := open(t, dir, tc.at)
		got, err := a.Server(tc.hosts)
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(got.Cert, first.Cert); same != tc.same {
			t.Errorf("%s: the same certificate: %v, want %v", tc.name, same, tc.same)
		}
		for _, h := range tc.hosts {
			if err := verify(t, a, got, tc.at, x509.ExtKeyUsageServerAuth, h); err != nil {
				t.Errorf("%s: %s: %v", tc.name, h, err)
			}
		}
		if verify(t, a, got, tc.at, x509.ExtKeyUsageServerAuth, "example.org") == nil {
			t.Errorf("%s: it is good for a foreign name", tc.name)
		}
	}
}

func TestClientCertificate(t *testing.T) {
	a := open(t, t.TempDir(), start)
	p, err := a.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := parse(p)
	if err != nil || cert.Subject.CommonName != "admin" || cert.Subject.Organization[0] != "system:masters" {
		t.Errorf("subject %v, error %v", cert.Subject, err)
	}
	if err := verify(t, a, p, start, x509.ExtKeyUsageClientAuth, ""); err != nil {
		t.Error(err)
	}
	if verify(t, a, p, start, x509.ExtKeyUsageServerAuth, "") == nil {
		t.Error("a client certificate serves as a server's")
	}
	if verify(t, open(t, t.TempDir(), start), p, start, x509.ExtKeyUsageClientAuth, "") == nil {
		t.Error("another cluster accepts it")
	}
	for _, name := range []string{"", "../x", "ca", "server"} {
		if _, err := a.Client(name); err == nil {
			t.Errorf("user name %q was accepted", name)
		}
	}
}

func TestBrokenAuthorityIsAnErrorNotANewOne(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, start)
	if err := os.WriteFile(filepath.Join(dir, "pki", "ca.key"), []byte("gone"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, time.Now); err == nil {
		t.Error("it opened")
	}
}

func TestKubeconfig(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir, start)
	path := filepath.Join(dir, "kubeconfig")
	if err := a.WriteKubeconfig(path, "https://127.0.0.1:6443", "admin", "system:masters"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Host != "https://127.0.0.1:6443" || !bytes.Equal(cfg.CAData, a.Cert()) || len(cfg.KeyData) == 0 {
		t.Errorf("config %v", cfg)
	}
}
