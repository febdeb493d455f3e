package bulk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/miekg/dns"
)

// Done knows which lines of a list have their result already, and checks that
// it is the same list. It is made by [Resume] and good for one [Run].
type Done struct {
	format Format
	empty  bool // the output had nothing

	// Formats that carry line numbers: one bit a line.
	lines []uint64
	had   int64

	// The short format: the hash of each query, sorted, and which are taken.
	seed  maphash.Seed
	texts []uint64
	taken []uint64

	// sample holds what some lines must be for this to be their output.
	sample map[uint64]sampled
	used   atomic.Int64
}

type sampled struct {
	query string
	qtype string
}

const (
	sampleMost = 4096
	maxRow     = 1 << 20 // longer than any row: 65,535 octets of data as escapes
	maxLines   = 1 << 33
)

// File is the partial output: an [os.File] opened for reading and writing.
type File interface {
	io.ReadWriteSeeker
	Truncate(size int64) error
}

// ErrResume is the error of an output that cannot be continued: it is not of
// the format, or not of this list.
var ErrResume = errors.New("cannot resume")

// Resume reads what an earlier run wrote to f and leaves f ready to be
// appended to. The last result may have been cut off, so it is removed and
// its name asked for again. Results are not asked for again, whatever they
// are, TIMEOUT included.
//
// CSV and JSON Lines carry line numbers, so that it takes one bit a line to
// remember them; the short format takes eight bytes.
func Resume(f File, format Format) (*Done, error) {
	d := &Done{format: format, seed: maphash.MakeSeed(), sample: make(map[uint64]sampled)}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("resuming: %w", err)
	}
	r := bufio.NewReaderSize(f, maxRow)
	var off, keep int64 // read so far; up to where results are whole
	var pending row     // the result that is only whole if another follows
	have := false
	if h := format.header(); h != "" {
		got, err := r.Peek(len(h))
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("resuming: %w", err)
		}
		if !bytes.HasPrefix([]byte(h), got) {
			return nil, fmt.Errorf("%w: the output does not begin with the header of this version's CSV", ErrResume)
		}
		if len(got) == len(h) {
			r.Discard(len(h))
			off = int64(len(h))
			keep = off
		} else {
			r.Discard(len(got))
		}
	}
	for n := 1; ; n++ {
		text, err := r.ReadSlice('\n')
		if err == io.EOF {
			break // a row without end goes
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, fmt.Errorf("%w: row %d of the output is longer than any result", ErrResume, n)
		}
		if err != nil {
			return nil, fmt.Errorf("resuming: %w", err)
		}
		rw, err := d.parse(text[:len(text)-1])
		if err != nil {
			return nil, fmt.Errorf("%w: row %d of the output is not a result (%s)", ErrResume, n, format)
		}
		if have && (format != CSV || rw.line != pending.line) {
			if err := d.add(pending); err != nil {
				return nil, err
			}
			keep = off
		}
		pending, have = rw, true
		off += int64(len(text))
	}
	if err := f.Truncate(keep); err != nil {
		return nil, fmt.Errorf("resuming: %w", err)
	}
	if _, err := f.Seek(keep, io.SeekStart); err != nil {
		return nil, fmt.Errorf("resuming: %w", err)
	}
	d.empty = keep == 0
	slices.Sort(d.texts)
	d.taken = make([]uint64, (len(d.texts)+63)/64)
	return d, nil
}

// Lines returns how many results there are.
func (d *Done) Lines() int64 { return d.had }

// row is the beginning of a row of output. Its bytes are copied where kept.
type row struct {
	line  uint64
	query string
	qtype string
}

func (d *Done) parse(text []byte) (rw row, err error) {
	switch d.format {
	case CSV:
		rest := text
		var f [4]string
		for i := range f {
			if f[i], rest, err = cutCSV(rest); err != nil {
				return rw, err
			}
		}
		rw.line, err = strconv.ParseUint(f[0], 10, 64)
		rw.query, rw.qtype = f[1], f[2]
	case JSON:
		digits, ok := bytes.CutPrefix(text, []byte(`{"line":`))
		end := bytes.IndexByte(digits, ',')
		if !ok || end < 0 || text[len(text)-1] != '}' {
			return rw, errWire
		}
		if rw.line, err = strconv.ParseUint(string(digits[:end]), 10, 64); err != nil || len(d.sample) >= sampleMost {
			break
		}
		var v struct{ Query, QTYPEname string }
		if err = json.Unmarshal(text, &v); err == nil {
			rw.query, rw.qtype = v.Query, v.QTYPEname
		}
	default:
		f := bytes.SplitN(text, []byte{'\t'}, 4)
		if len(f) < 3 {
			return rw, errWire
		}
		rw.query, rw.qtype = string(f[0]), string(f[1])
		return rw, nil
	}
	if err == nil && (rw.line == 0 || rw.line > maxLines) {
		err = errWire
	}
	return rw, err
}

// cutCSV cuts the first field off a row that goes on after it.
func cutCSV(b []byte) (field string, rest []byte, err error) {
	if len(b) == 0 || b[0] != '"' {
		f, rest, ok := bytes.Cut(b, []byte{','})
		if !ok {
			return "", nil, errWire
		}
		return string(f), rest, nil
	}
	var out []byte
	for i := 1; i < len(b); i++ {
		if b[i] != '"' {
			out = append(out, b[i])
			continue
		}
		if i++; i < len(b) && b[i] == ',' {
			return string(out), b[i+1:], nil
		}
		if i >= len(b) || b[i] != '"' {
			break
		}
		out = append(out, '"')
	}
	return "", nil, errWire
}

func (d *Done) add(rw row) error {
	d.had++
	if d.format == Text {
		h := maphash.String(d.seed, rw.query)
		d.texts = append(d.texts, h)
		if len(d.sample) < sampleMost {
			d.sample[h] = sampled{rw.query, rw.qtype}
		}
		return nil
	}
	w := rw.line / 64
	if grow := int(w) + 1 - len(d.lines); grow > 0 {
		// Line numbers come from a file that may not be ours: take no more
		// memory than the number of results makes likely.
		if w > uint64(d.had)*64+1<<16 {
			return fmt.Errorf("%w: line %d comes too early in the output", ErrResume, rw.line)
		}
		d.lines = append(d.lines, make([]uint64, grow)...)
	}
	if d.lines[w]>>(rw.line%64)&1 != 0 {
		return fmt.Errorf("%w: the output has two results for line %d", ErrResume, rw.line)
	}
	d.lines[w] |= 1 << (rw.line % 64)
	if len(d.sample) < sampleMost {
		d.sample[rw.line] = sampled{rw.query, rw.qtype}
	}
	return nil
}

// take reports whether a line of the list has its result.
func (d *Done) take(line uint64, text []byte, qtype uint16) (bool, error) {
	query := escapeString(string(text))
	key := line
	if d.format == Text {
		key = maphash.String(d.seed, query)
		if !d.takeText(key) {
			return false, nil
		}
	} else if w := line / 64; w >= uint64(len(d.lines)) || d.lines[w]>>(line%64)&1 == 0 {
		return false, nil
	}
	d.used.Add(1)
	s, ok := d.sample[key]
	if !ok {
		return true, nil
	}
	if s.query != query && len(text) <= maxLineLen {
		return false, fmt.Errorf("%w: line %d of the list is %q, but %q in the output", ErrResume, line, query, s.query)
	}
	if want := dns.Type(qtype).String(); s.qtype != "" && s.qtype != want && !ownType(text) {
		return false, fmt.Errorf("%w: the output has type %s for line %d, not %s", ErrResume, s.qtype, line, want)
	}
	return true, nil
}

// ownType reports whether a line names its type, or is an address.
func ownType(text []byte) bool {
	if bytes.ContainsAny(text, " \t") {
		return true
	}
	_, err := netip.ParseAddr(string(text))
	return err == nil
}

func (d *Done) takeText(h uint64) bool {
	i, _ := slices.BinarySearch(d.texts, h)
	for ; i < len(d.texts) && d.texts[i] == h; i++ {
		if d.taken[i/64]>>(i%64)&1 == 0 {
			d.taken[i/64] |= 1 << (i % 64)
			return true
		}
	}
	return false
}

// left returns how many results belong to no line that was read.
func (d *Done) left() int64 { return d.had - d.used.Load() }
