package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"periplus.dev/events/jetstream"
)

// Files of those who connect to the embedded server from other processes.
const (
	natsCredsFile  = "nats.creds" //nolint:gosec // the name of a file
	natsReaderFile = "nats-reader.creds"
	natsKeyFile    = "pki/nats.pem" // the server's key and certificate
)

// admit lets other processes connect: with credentials that are written into the
// directory when there are none, over TLS with a certificate that they contain.
func (d dataDir) admit(conf *jetstream.Config) error {
	host, _, err := net.SplitHostPort(conf.Listen)
	if err != nil {
		return fmt.Errorf("read nats-listen: %w", err)
	}
	certificate, authority, err := d.natsCertificate(host)
	if err != nil {
		return fmt.Errorf("make certificate for nats-listen: %w", err)
	}
	conf.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	if conf.Token, err = d.token(natsCredsFile, jetstream.LogUser, authority); err != nil {
		return err
	}
	conf.ReadToken, err = d.token(natsReaderFile, jetstream.ReadUser, authority)
	return err
}

// token is the user's in a file of credentials, which is written if it is not
// there or holds another certificate.
func (d dataDir) token(file, user string, authority []byte) (string, error) {
	path := d.path(file)
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	line, rest, _ := strings.Cut(string(raw), "\n")
	token, ok := strings.CutPrefix(line, user+":")
	if !ok || token == "" {
		token = rand.Text()
	} else if rest == string(authority) {
		return token, nil
	}
	return token, jetstream.WriteCredentials(path, user, token, authority)
}

// natsCertificate is kept, so that who has the credentials can come back after a
// restart; a new one is made when the host is another one.
func (d dataDir) natsCertificate(host string) (tls.Certificate, []byte, error) {
	path := d.path(natsKeyFile)
	if raw, err := os.ReadFile(path); err == nil {
		kept, err := tls.X509KeyPair(raw, raw)
		if err == nil && kept.Leaf.NotAfter.After(time.Now()) && (host == "" || kept.Leaf.VerifyHostname(host) == nil) {
			return kept, certificatePEM(kept.Leaf.Raw), nil
		}
	}
	key, der, err := selfSigned(host)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("encode key: %w", err)
	}
	var b bytes.Buffer
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	b.Write(certificatePEM(der))
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("make directory: %w", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("write key: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, certificatePEM(der), nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func selfSigned(host string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "periplus log"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, address := range append(hostAddresses(), host) {
		if ip := net.ParseIP(address); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	if name, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, name)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate: %w", err)
	}
	return key, der, nil
}
