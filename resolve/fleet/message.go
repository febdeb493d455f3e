package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/bulk"
)

const (
	version = 1
	// MaxMessage is the longest message in bytes that is believed.
	MaxMessage = 16 << 20
	// MaxLines is the most names that a batch may have.
	MaxLines = 10_000
	// maxLine is the longest line of a list, longer than any name in any escape.
	maxLine = 4096
)

// A line is a name, or whatever else stands on a line of the list.
type line struct {
	number uint64
	text   string
}

// A batch is a part of the list.
type batch struct {
	job    string
	number uint64
	qtype  uint16
	format bulk.Format
	lines  []line
}

// A result is what became of a batch, in the order of its lines.
type result struct {
	job     string
	number  uint64
	worker  string
	seconds float64
	texts   []numbered
}

type numbered struct {
	number uint64
	text   []byte
}

type header struct {
	Wherry  string  `json:"wherry"`
	V       int     `json:"v"`
	Job     string  `json:"job"`
	Batch   uint64  `json:"batch"`
	Type    string  `json:"type,omitempty"`
	Format  string  `json:"format,omitempty"`
	Worker  string  `json:"worker,omitempty"`
	Lines   int     `json:"lines"`
	Seconds float64 `json:"seconds,omitempty"`
}

var errMessage = errors.New("not a message of this version of wherry")

func (b *batch) append(dst []byte) []byte {
	dst = appendHeader(dst, header{Wherry: "names", V: version, Job: b.job, Batch: b.number, Type: dns.Type(b.qtype).String(), Format: b.format.String(), Lines: len(b.lines)})
	for _, l := range b.lines {
		dst = strconv.AppendUint(dst, l.number, 10)
		dst = append(dst, ' ')
		dst = append(dst, l.text...)
		dst = append(dst, '\n')
	}
	return dst
}

func (r *result) append(dst []byte) []byte {
	dst = appendHeader(dst, header{Wherry: "results", V: version, Job: r.job, Batch: r.number, Worker: r.worker, Lines: len(r.texts), Seconds: r.seconds})
	for _, t := range r.texts {
		dst = strconv.AppendUint(dst, t.number, 10)
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(len(t.text)), 10)
		dst = append(dst, '\n')
		dst = append(dst, t.text...)
	}
	return dst
}

func appendHeader(dst []byte, h header) []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // not reached: a struct of plain fields with finite numbers
	}
	return append(append(dst, b...), '\n')
}

// parseHeader reads the first line and checks what both kinds have in common.
func parseHeader(p []byte, kind string) (h header, rest []byte, err error) {
	if len(p) > MaxMessage {
		return h, nil, fmt.Errorf("%w: %d bytes", errMessage, len(p))
	}
	first, rest, ok := bytes.Cut(p, []byte("\n"))
	if !ok || len(first) > maxLine || json.Unmarshal(first, &h) != nil || h.Wherry != kind || h.V != version {
		return h, nil, errMessage
	}
	if h.Lines < 1 || h.Lines > MaxLines || h.Job == "" || !plain(h.Job) || !plain(h.Worker) || h.Seconds < 0 {
		return h, nil, errMessage
	}
	return h, rest, nil
}

// plain reports whether s is short and safe to print and to put into a name.
func plain(s string) bool {
	if len(s) > 100 {
		return false
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

func parseBatch(p []byte) (*batch, error) {
	h, p, err := parseHeader(p, "names")
	if err != nil {
		return nil, err
	}
	b := &batch{job: h.Job, number: h.Batch}
	if b.qtype, err = bulk.ParseType(h.Type); err != nil {
		return nil, errMessage
	}
	if b.format, err = bulk.ParseFormat(h.Format); err != nil {
		return nil, errMessage
	}
	for range h.Lines {
		var n uint64
		var text []byte
		row, rest, ok := bytes.Cut(p, []byte("\n"))
		if !ok {
			return nil, errMessage
		}
		num, text, ok := bytes.Cut(row, []byte(" "))
		if n, err = strconv.ParseUint(string(num), 10, 64); !ok || err != nil || !asked(text) {
			return nil, errMessage
		}
		if last := len(b.lines) - 1; last >= 0 && n <= b.lines[last].number {
			return nil, errMessage
		}
		b.lines = append(b.lines, line{n, string(text)})
		p = rest
	}
	if len(p) > 0 {
		return nil, errMessage
	}
	return b, nil
}

// asked reports whether package bulk gives a result for the line: it is not blank,
// no comment, and one line.
func asked(text []byte) bool {
	return len(text) > 0 && len(text) <= maxLine && text[0] != '#' && text[0] != ';' && len(bytes.TrimSpace(text)) == len(text)
}

func parseResult(p []byte) (*result, error) {
	h, p, err := parseHeader(p, "results")
	if err != nil {
		return nil, err
	}
	r := &result{job: h.Job, number: h.Batch, worker: h.Worker, seconds: h.Seconds}
	for range h.Lines {
		row, rest, ok := bytes.Cut(p, []byte("\n"))
		num, length, ok2 := bytes.Cut(row, []byte(" "))
		if !ok || !ok2 {
			return nil, errMessage
		}
		n, err1 := strconv.ParseUint(string(num), 10, 64)
		size, err2 := strconv.ParseUint(string(length), 10, 31)
		if err1 != nil || err2 != nil || size > uint64(len(rest)) {
			return nil, errMessage
		}
		text := rest[:size]
		if size > 0 && text[size-1] != '\n' || bytes.ContainsFunc(text, unprintable) {
			return nil, errMessage
		}
		r.texts = append(r.texts, numbered{n, text})
		p = rest[size:]
	}
	if len(p) > 0 {
		return nil, errMessage
	}
	return r, nil
}

// unprintable reports what package bulk never prints.
func unprintable(c rune) bool { return c != '\n' && c != '\t' && (c < ' ' || c >= 0x7f) }

// answers reports whether r is for just the names of b.
func (r *result) answers(b *batch) bool {
	if len(r.texts) != len(b.lines) {
		return false
	}
	for i, l := range b.lines {
		if r.texts[i].number != l.number {
			return false
		}
	}
	return true
}
