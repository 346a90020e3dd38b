// Package pki keeps the certificates of the door: a certificate authority made
// once per data directory, the server's certificate, and client certificates.
//
// Everything lives in DIR/pki, keys with mode 0600. The server's certificate is
// made anew when it is about to expire or when the names it has to hold have
// changed; the authority never is, so that kubeconfigs stay good.
//
// Start reading at [Open].
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	leafLife      = 2 * 365 * 24 * time.Hour
	renewBefore   = 90 * 24 * time.Hour // a leaf is made anew when it has less than this to live
	backdate      = 5 * time.Minute     // for clocks that go behind
)

// Authority issues and checks certificates. Its methods may be called
// concurrently.
type Authority struct {
	dir  string
	now  func() time.Time
	pair Pair
	cert *x509.Certificate
	key  crypto.Signer
}

// Pair is a certificate and its key, both PEM.
type Pair struct {
	Cert []byte
	Key  []byte
}

// Open loads the authority of a data directory, and makes it if there is none.
// now is the clock for validity.
func Open(dataDir string, now func() time.Time) (*Authority, error) {
	a := &Authority{dir: filepath.Join(dataDir, "pki"), now: now}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	pair, err := a.load("ca")
	if errors.Is(err, fs.ErrNotExist) {
		pair, err = a.create()
	}
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	a.pair = pair
	if a.cert, a.key, err = parse(pair); err != nil {
		return nil, fmt.Errorf("open certificate authority in %s: %w", a.dir, err)
	}
	return a, nil
}

// Cert is the authority's certificate, PEM: what clients trust.
func (a *Authority) Cert() []byte { return a.pair.Cert }

// Roots verifies certificates that the authority issued.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// Server returns the server's certificate for the given DNS names and IP
// addresses, the stored one if it still serves.
func (a *Authority) Server(hosts []string) (Pair, error) {
	t := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "periplus"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.leaf("server", t)
}

// Client returns a client certificate for a user and its groups, stored under
// the user's name; the stored one if it still serves. The user's name must be
// usable as a file name.
func (a *Authority) Client(user string, groups ...string) (Pair, error) {
	if user == "" || user != filepath.Base(user) || user == "ca" || user == "server" {
		return Pair{}, fmt.Errorf("issue client certificate: unusable user name %q", user)
	}
	return a.leaf(user, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

func (a *Authority) leaf(name string, t *x509.Certificate) (Pair, error) {
	if pair, err := a.load(name); err == nil && a.serves(pair, t) {
		return pair, nil
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	pair, err := a.issue(t, leafLife, a.cert, a.key)
	if err == nil {
		err = a.store(name, pair)
	}
	if err != nil {
		return Pair{}, fmt.Errorf("issue certificate %s: %w", name, err)
	}
	return pair, nil
}

// serves reports whether a stored leaf is what t asks for, is ours and lives
// long enough.
func (a *Authority) serves(pair Pair, t *x509.Certificate) bool {
	cert, _, err := parse(pair)
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil || a.now().Add(renewBefore).After(cert.NotAfter) {
		return false
	}
	return cert.Subject.String() == t.Subject.String() &&
		slices.Equal(cert.DNSNames, t.DNSNames) &&
		slices.EqualFunc(cert.IPAddresses, t.IPAddresses, net.IP.Equal)
}

func (a *Authority) create() (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "periplus-ca"},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	pair, err := a.sign(t, authorityLife, key, t, key)
	if err != nil {
		return Pair{}, err
	}
	return pair, a.store("ca", pair)
}

func (a *Authority) issue(t *x509.Certificate, life time.Duration, parent *x509.Certificate, signer crypto.Signer) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	return a.sign(t, life, key, parent, signer)
}

func (a *Authority) sign(t *x509.Certificate, life time.Duration, key *ecdsa.PrivateKey, parent *x509.Certificate, signer crypto.Signer) (Pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return Pair{}, err
	}
	t.SerialNumber = serial
	t.NotBefore = a.now().Add(-backdate)
	t.NotAfter = a.now().Add(life)
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}

func (a *Authority) load(name string) (Pair, error) {
	cert, err := os.ReadFile(filepath.Join(a.dir, name+".crt"))
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(filepath.Join(a.dir, name+".key"))
	return Pair{Cert: cert, Key: key}, err
}

// store writes the key first: a certificate whose key is missing would be taken
// for an authority that is there.
func (a *Authority) store(name string, pair Pair) error {
	if err := WriteFile(filepath.Join(a.dir, name+".key"), pair.Key, 0o600); err != nil {
		return err
	}
	return WriteFile(filepath.Join(a.dir, name+".crt"), pair.Cert, 0o644)
}

// WriteFile replaces a file by a whole new one with the given mode, durably: a
// reader finds the old content or the new, never a part.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func parse(pair Pair) (*x509.Certificate, crypto.Signer, error) {
	certBlock, _ := pem.Decode(pair.Cert)
	keyBlock, _ := pem.Decode(pair.Key)
	if certBlock == nil || keyBlock == nil {
		return nil, nil, errors.New("certificate or key is not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("parse certificate: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("parse key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, errors.New("the key is not that of the certificate")
	}
	return cert, key, nil
}
