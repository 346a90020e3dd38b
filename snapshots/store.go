package snapshots

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"periplus.dev/projections"
)

// keep is how many snapshots stay: should the newest turn out to be damaged,
// there is another.
const keep = 2

// Names of files.
const (
	suffix  = ".snap"
	partial = "writing.tmp" // what a crash left of a snapshot under way
)

// ErrSuspended is the answer to [Store.Save] after [Store.Suspend].
var ErrSuspended = errors.New("no snapshots are written")

// Store is a directory of snapshots. One process at a time may have it. All
// methods may be called concurrently.
type Store struct {
	dir string

	mu        sync.Mutex
	unusable  map[string]bool // names of files that Load passed over
	suspended bool
}

// Open makes the directory if needed, readable by its owner only.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, partial)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open snapshots: %w", err)
	}
	return &Store{dir: dir, unusable: map[string]bool{}}, nil
}

// Save writes a World that nobody will change and removes what is too old. Once it
// returns the snapshot is on disk. The empty World is not worth one.
func (s *Store) Save(w *projections.World) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.suspended {
		return ErrSuspended
	}
	return s.save(w, keep)
}

// Suspend makes [Store.Save] refuse, for good: the World of this process is known
// to be wrong, and is not to be handed on to the next.
func (s *Store) Suspend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.suspended = true
}

// Replace writes a World and removes every other snapshot.
func (s *Store) Replace(w *projections.World) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(w, 1)
}

// Dir is the directory.
func (s *Store) Dir() string { return s.dir }

func nameOf(seq uint64) string { return fmt.Sprintf("%020d%s", seq, suffix) }

func (s *Store) save(w *projections.World, stay int) error {
	if w.Seq() == 0 {
		return nil
	}
	name := nameOf(w.Seq())
	err := s.write(w)
	if err == nil {
		err = os.Rename(s.path(partial), s.path(name))
	}
	if err != nil {
		return fmt.Errorf("write snapshot at sequence %d: %w", w.Seq(), errors.Join(err, s.remove(partial)))
	}
	delete(s.unusable, name)
	if err := errors.Join(s.prune(name, stay), syncDir(s.dir)); err != nil {
		return fmt.Errorf("write snapshot at sequence %d: %w", w.Seq(), err)
	}
	return nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// write writes the whole file under its first name.
func (s *Store) write(w *projections.World) (err error) {
	f, err := os.OpenFile(s.path(partial), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(headerSize, io.SeekStart); err != nil {
		return err
	}
	sum := sha256.New()
	out := &counter{to: bufio.NewWriterSize(io.MultiWriter(f, sum), 1<<18)}
	if err := w.Encode(out); err != nil {
		return err
	}
	if err := out.to.Flush(); err != nil {
		return err
	}
	head, err := header{
		Format: Format, FoldVersion: projections.FoldVersion, Seq: w.Seq(), ID: w.ID(), Bytes: out.n, SHA256: hex.EncodeToString(sum.Sum(nil)),
	}.encode()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	return f.Sync()
}

// counter counts what is written.
type counter struct {
	to *bufio.Writer
	n  int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}

// prune leaves so many snapshots, the newest among those that can be used; the one
// just written stays in any case.
func (s *Store) prune(written string, stay int) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	kept := 1
	for _, name := range names {
		switch {
		case name == written:
		case !s.unusable[name] && name < written && kept < stay:
			kept++
		default:
			err = errors.Join(err, s.remove(name))
			delete(s.unusable, name)
		}
	}
	return err
}

// names are the names of snapshots, newest first.
func (s *Store) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func (s *Store) remove(name string) error {
	if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
