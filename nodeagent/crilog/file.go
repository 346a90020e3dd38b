package crilog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// OpenFile opens the log of one container for writing, and makes it and its
// folders if they are not there. What is in it stays; an entry that a crash cut
// short is taken off. Close the file after [Log.End].
func OpenFile(path string) (*Log, *os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	size, err := wholeEntries(f)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", errors.Join(err, f.Close()))
	}
	return New(f, size, time.Now), f, nil
}

// wholeEntries is the size of a file up to the end of its last whole line.
func wholeEntries(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, err
	}
	last := make([]byte, 1)
	if err := readFull(f, last, info.Size()-1); err != nil {
		return 0, err
	}
	if bytes.Equal(last, []byte{'\n'}) {
		return info.Size(), nil
	}
	return lineStart(f, info.Size())
}
