package sealing

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeyFile is where the cluster key lives below a data directory.
const KeyFile = "keys/cluster.key"

// LoadOrCreate returns a sealer with the cluster key of a data directory, and
// makes the key if there is none. The key file can be read by its owner alone;
// one that others can read is refused. Losing the file loses every Secret.
func LoadOrCreate(dir string) (*Sealer, error) {
	path := filepath.Join(dir, KeyFile)
	key, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeKey(path, NewKey()); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("create cluster key: %w", err)
		}
		key, err = readKey(path) // another process may have been first
	}
	if err != nil {
		return nil, fmt.Errorf("read cluster key: %w", err)
	}
	return New(key)
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("%s does not hold %d bytes in hexadecimal", path, KeySize)
	}
	return key, nil
}

// writeKey makes the file whole and durable, or not at all. It returns
// fs.ErrExist if the file is there already.
func writeKey(path string, key []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".cluster-*.key") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(hex.EncodeToString(key) + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
