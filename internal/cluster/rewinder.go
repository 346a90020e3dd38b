package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// rewinder lets several readers have the same body one after the other, by
// keeping it in a temporary file.
type rewinder struct {
	from io.Reader
	file *os.File
}

// start returns the body from its beginning.
func (r *rewinder) start() (io.Reader, error) {
	if r.file == nil {
		f, err := os.CreateTemp("", "periplus-images-*")
		if err != nil {
			return nil, fmt.Errorf("keep archive: %w", err)
		}
		// The name goes at once; the file lives as long as it is open.
		if err := errors.Join(os.Remove(f.Name()), copyTo(f, r.from)); err != nil {
			return nil, errors.Join(fmt.Errorf("keep archive: %w", err), f.Close())
		}
		r.file = f
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewind archive: %w", err)
	}
	return r.file, nil
}

func copyTo(w io.Writer, r io.Reader) error {
	_, err := io.Copy(w, r)
	return err
}

func (r *rewinder) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}
