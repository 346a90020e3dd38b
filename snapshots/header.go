package snapshots

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"periplus.dev/projections"
)

// Format is the layout of a file.
const Format = 1

// headerSize is the room that the header takes in a file.
const headerSize = 512

// header is the beginning of a file.
type header struct {
	Format      int    `json:"format"`
	FoldVersion int    `json:"foldVersion"`
	Seq         uint64 `json:"seq"`
	ID          string `json:"id"`
	Bytes       int64  `json:"bytes"`
	SHA256      string `json:"sha256"`
}

// encode writes the header as it stands in a file.
func (h header) encode() ([]byte, error) {
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode header: %w", err)
	}
	if len(raw) >= headerSize {
		return nil, fmt.Errorf("encode header: the id of event %d is too long", h.Seq)
	}
	raw = append(raw, bytes.Repeat([]byte{' '}, headerSize-1-len(raw))...)
	return append(raw, '\n'), nil
}

// What speaks against a snapshot.
var (
	errDamaged = errors.New("it is damaged")
	errOther   = errors.New("another version of this program wrote it")
	errForeign = errors.New("it is not of this log")
)

// readHeader reads a header and checks that it is one. Whether it is of our
// version is for [header.ours] to say: of another one nothing is known but that.
func readHeader(in io.Reader) (header, error) {
	raw := make([]byte, headerSize)
	if _, err := io.ReadFull(in, raw); err != nil {
		return header{}, fmt.Errorf("%w: its header is cut off", errDamaged)
	}
	var h header
	if err := json.Unmarshal(raw, &h); err != nil {
		return header{}, fmt.Errorf("%w: its header cannot be read: %w", errDamaged, err)
	}
	if h.Format != Format {
		return h, nil
	}
	// There is one way only to write it.
	again, err := h.encode()
	if err != nil || !bytes.Equal(raw, again) {
		return header{}, fmt.Errorf("%w: its header is not as it was written", errDamaged)
	}
	return h, nil
}

// ours says whether this program can read what is behind the header.
func (h header) ours() error {
	switch {
	case h.Format != Format:
		return fmt.Errorf("%w: format %d, this one knows %d", errOther, h.Format, Format)
	case h.FoldVersion != projections.FoldVersion:
		return fmt.Errorf("%w: folds of version %d, this one has %d", errOther, h.FoldVersion, projections.FoldVersion)
	}
	return nil
}
