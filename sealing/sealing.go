package sealing

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// KeySize is the size of a cluster key in bytes.
const KeySize = 32

const prefix = "pp1:"

// Why a value does not open.
var (
	// ErrNotSealed marks a value that was never sealed, so that it may be forged.
	ErrNotSealed = errors.New("the value is not sealed")
	// ErrWrongKey marks a value that was sealed with another cluster key.
	ErrWrongKey = errors.New("the value was sealed with another cluster key")
	// ErrForged marks a value that was changed, or sealed for another object or field.
	ErrForged = errors.New("the sealed value was changed or belongs to another object")
)

// Sealer seals and opens Secrets with one cluster key. It holds no state
// besides the key, and all methods may be called concurrently.
type Sealer struct {
	id   string
	aead cipher.AEAD
}

// New is a sealer with the given key of [KeySize] bytes.
func New(key []byte) (*Sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("read cluster key: want %d bytes, have %d", KeySize, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use cluster key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("use cluster key: %w", err)
	}
	sum := sha256.Sum256(append([]byte("periplus key id\x00"), key...))
	return &Sealer{id: hex.EncodeToString(sum[:4]), aead: aead}, nil
}

// KeyID names the key without revealing it.
func (s *Sealer) KeyID() string { return s.id }

// Seal returns a copy of the Secret in which every value is sealed. Values in
// stringData are merged into data first. The Secret must have its final
// namespace, name and uid; it is not modified.
func (s *Sealer) Seal(secret *corev1.Secret) (*corev1.Secret, error) {
	if secret.UID == "" {
		return nil, fmt.Errorf("seal secret %s/%s: it has no uid yet", secret.Namespace, secret.Name)
	}
	out := plainCopy(secret)
	for key, value := range secret.StringData {
		if out.Data == nil {
			out.Data = map[string][]byte{}
		}
		out.Data[key] = []byte(value)
	}
	out.StringData = nil
	for key, value := range out.Data {
		out.Data[key] = append([]byte(prefix+s.id+":"), s.lock(secret, dataField(key), value)...)
	}
	if value, ok := out.Annotations[corev1.LastAppliedConfigAnnotation]; ok {
		body := s.lock(secret, annotationField, []byte(value))
		out.Annotations[corev1.LastAppliedConfigAnnotation] = prefix + s.id + ":" + base64.RawStdEncoding.EncodeToString(body)
	}
	return out, nil
}

// Open returns a copy of a sealed Secret with its values in the clear. The
// error says which field does not open and wraps [ErrNotSealed], [ErrWrongKey]
// or [ErrForged]. The Secret is not modified.
func (s *Sealer) Open(secret *corev1.Secret) (*corev1.Secret, error) {
	out := plainCopy(secret)
	fail := func(field string, err error) (*corev1.Secret, error) {
		return nil, fmt.Errorf("open secret %s/%s, %s: %w", secret.Namespace, secret.Name, field, err)
	}
	for key, value := range out.Data {
		body, err := s.body(value)
		if err == nil {
			out.Data[key], err = s.unlock(secret, dataField(key), body)
		}
		if err != nil {
			return fail(dataField(key), err)
		}
	}
	value, ok := out.Annotations[corev1.LastAppliedConfigAnnotation]
	if !ok {
		return out, nil
	}
	text, err := s.body([]byte(value))
	if err != nil {
		return fail(annotationField, err)
	}
	body, err := base64.RawStdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fail(annotationField, ErrForged)
	}
	clear, err := s.unlock(secret, annotationField, body)
	if err != nil {
		return fail(annotationField, err)
	}
	out.Annotations[corev1.LastAppliedConfigAnnotation] = string(clear)
	return out, nil
}

const annotationField = "annotations." + corev1.LastAppliedConfigAnnotation

func dataField(key string) string { return "data." + key }

// body strips the prefix and the key id from a sealed value.
func (s *Sealer) body(value []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(value, []byte(prefix))
	if !ok {
		return nil, ErrNotSealed
	}
	id, body, ok := bytes.Cut(rest, []byte(":"))
	switch {
	case !ok:
		return nil, ErrNotSealed
	case string(id) != s.id:
		return nil, fmt.Errorf("%w: it names key %.16q, this cluster's is %q", ErrWrongKey, id, s.id)
	}
	return body, nil
}

func (s *Sealer) lock(secret *corev1.Secret, field string, clear []byte) []byte {
	return s.aead.Seal(nil, nil, clear, place(secret, field)) //nolint:gosec // no nonce is given: the cipher draws the nonce itself
}

func (s *Sealer) unlock(secret *corev1.Secret, field string, body []byte) ([]byte, error) {
	clear, err := s.aead.Open([]byte{}, nil, body, place(secret, field))
	if err != nil {
		return nil, ErrForged
	}
	return clear, nil
}

// place is what a sealed value is bound to. None of the parts can hold a NUL.
func place(secret *corev1.Secret, field string) []byte {
	return []byte(strings.Join([]string{prefix, secret.Namespace, secret.Name, string(secret.UID), field}, "\x00"))
}

// plainCopy copies what Seal and Open change; the rest is shared.
func plainCopy(secret *corev1.Secret) *corev1.Secret {
	out := *secret
	out.Data = maps.Clone(secret.Data)
	out.Annotations = maps.Clone(secret.Annotations)
	return &out
}

// NewKey returns a random cluster key.
func NewKey() []byte {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // documented never to fail
	return key
}
