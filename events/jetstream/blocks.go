package jetstream

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/minio/highwayhash"
)

// The files in which the server keeps a stream: DIR/N.blk with N from 1, each a
// row of records, little-endian:
//
//	length u32 (bit 31: has headers) | sequence u64 (bit 63: erased, bit 62: note
//	about another one) | time i64 | subject length u16 | subject |
//	[header length u32] | [headers] | payload | checksum u64
//
// The length counts everything. The checksum is the HighwayHash of what follows
// the first length, both other lengths apart; its key is made of the names of
// stream and block. The server cuts a block short at the first record that it
// cannot read, so this is read before the server gets to see it.
const (
	recordHead = 22
	recordSum  = 8
	maxRecord  = 32 << 20

	bitHeaders = 1 << 31
	bitErased  = 1 << 63
	bitNote    = 1 << 62
)

// block is one such file.
type block struct {
	path  string
	index uint64
	size  int64
}

// blocksOf lists the blocks of a stream in order; none if there is no such stream.
func blocksOf(dir, stream string) ([]block, error) {
	paths, err := filepath.Glob(filepath.Join(messagesDir(dir, stream), "*.blk"))
	if err != nil {
		return nil, fmt.Errorf("list blocks of %s: %w", stream, err)
	}
	var out []block
	for _, path := range paths {
		index, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".blk"), 10, 32)
		if err != nil {
			continue // not one of the server's
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("look at block: %w", err)
		}
		out = append(out, block{path: path, index: index, size: info.Size()})
	}
	slices.SortFunc(out, func(a, b block) int { return int(a.index) - int(b.index) })
	return out, nil
}

func messagesDir(dir, stream string) string {
	return filepath.Join(dir, "jetstream", "$G", "streams", stream, "msgs")
}

// fault is the first thing wrong in a row of records.
type fault struct {
	seq    uint64 // first event that is not there or cannot be read
	block  block
	offset int64 // where in the block the trouble starts
	reason string
	// inside says that readable records follow in the same block: no write that
	// was under way when the machine stopped looks like that.
	inside bool
}

// scan reads blocks one after the other and counts sequences.
type scan struct {
	stream string
	want   uint64 // next sequence; 0 for any
	first  uint64 // first sequence that was found
	buf    bytes.Buffer
}

// read reads one block. The error is that of reading the file.
func (s *scan) read(b block) (*fault, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return nil, fmt.Errorf("open block: %w", err)
	}
	defer func() { _ = f.Close() }()
	s.buf.Reset()
	if _, err := s.buf.ReadFrom(f); err != nil {
		return nil, fmt.Errorf("read block: %w", err)
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", s.stream, b.index))
	sum, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return nil, fmt.Errorf("make checksum: %w", err)
	}
	return s.records(b, s.buf.Bytes(), sum), nil
}

func (s *scan) records(b block, buf []byte, sum *highwayhash.Digest64) *fault {
	at := func(rest []byte, seq uint64, reason string) *fault {
		return &fault{seq: seq, block: b, offset: int64(len(buf) - len(rest)), reason: reason}
	}
	for rest := buf; len(rest) > 0; {
		r, bad := parseRecord(rest, sum)
		if bad != "" {
			f := at(rest, max(s.want, 1), bad)
			if len(r.raw) > 0 && len(r.raw) < len(rest) {
				_, next := parseRecord(rest[len(r.raw):], sum)
				f.inside = next == ""
			}
			return f
		}
		switch {
		case r.seq&bitNote != 0, r.seq&^bitErased == 0, r.seq&^bitErased < s.want:
		case r.seq&bitErased != 0:
			return at(rest, r.seq&^bitErased, "the event was erased")
		case s.want != 0 && r.seq > s.want:
			return at(rest, s.want, fmt.Sprintf("event %d follows %d", r.seq, s.want-1))
		default:
			if s.first == 0 {
				s.first = r.seq
			}
			s.want = r.seq + 1
		}
		rest = rest[len(r.raw):]
	}
	return nil
}

type record struct {
	raw []byte // empty if its length makes no sense
	seq uint64
}

// parseRecord reads the record at the start of buf and says what is wrong with it.
func parseRecord(buf []byte, sum *highwayhash.Digest64) (record, string) {
	if len(buf) < recordHead {
		return record{}, "the file ends within a record"
	}
	length := binary.LittleEndian.Uint32(buf)
	headers := length&bitHeaders != 0
	length &^= bitHeaders
	subject := int(binary.LittleEndian.Uint16(buf[20:]))
	fixed := recordHead + subject + recordSum
	if headers {
		fixed += 4
	}
	switch {
	case int(length) < fixed || length > maxRecord:
		return record{}, fmt.Sprintf("a record says that it has %d bytes", length)
	case int(length) > len(buf):
		return record{}, "the file ends within a record"
	}
	r := record{raw: buf[:length], seq: binary.LittleEndian.Uint64(buf[4:])}
	body := r.raw[recordHead+subject : length-recordSum]
	if headers {
		n := binary.LittleEndian.Uint32(body)
		if body = body[4:]; int(n) > len(body) || !bytes.HasSuffix(body[:n], []byte("\r\n\r\n")) {
			return r, "the headers of a record do not end where it says"
		}
	}
	sum.Reset()
	_, _ = sum.Write(r.raw[4:20])
	_, _ = sum.Write(r.raw[recordHead : recordHead+subject])
	_, _ = sum.Write(body)
	if !bytes.Equal(sum.Sum(nil), r.raw[length-recordSum:]) {
		return r, "the checksum of a record is wrong"
	}
	return r, ""
}
