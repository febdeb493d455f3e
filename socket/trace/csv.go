package trace

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// encoder writes events in a format.
type encoder interface {
	header() []byte
	append(b []byte, e *Event) []byte
}

func newEncoder(f Format, h Header) (encoder, error) {
	switch f {
	case CSV:
		return csvEncoder{}, nil
	case Qlog:
		return newQlogEncoder(h), nil
	}
	return nil, fmt.Errorf("%w, not %d", ErrFormat, int(f))
}

// csvEncoder writes RFC 4180 with one line an event.
type csvEncoder struct{}

// The columns before and after the numeric ones.
var csvFront, csvBack = []string{"time", "conn", "event", "type", "flags"}, []string{"ranges", "sacked", "reason"}

func (csvEncoder) header() []byte {
	names := append([]string(nil), csvFront...)
	for _, c := range columns {
		names = append(names, c.name)
	}
	return []byte(strings.Join(append(names, csvBack...), ",") + "\n")
}

func (csvEncoder) append(b []byte, e *Event) []byte {
	b = appendFixed(b, int64(e.Time), 9)
	b = append(b, ',')
	if e.Conn != 0 {
		b = strconv.AppendInt(b, int64(e.Conn), 10)
	}
	b = append(b, ',')
	b = append(b, e.Kind.String()...)
	b = append(b, ',')
	b = appendField(b, e.Type)
	b = append(b, ',')
	b = appendFlags(b, e.Flags)
	b = append(b, ',')
	for i := range columns {
		if c := &columns[i]; e.Has&c.has != 0 {
			if c.unit == seconds {
				b = appendFixed(b, *c.at(e), 9)
			} else {
				b = strconv.AppendInt(b, *c.at(e), 10)
			}
		}
		b = append(b, ',')
	}
	b = appendRanges(b, e.Ranges)
	b = append(b, ',')
	b = appendRanges(b, e.Sacked)
	b = append(b, ',')
	b = appendField(b, e.Reason)
	return append(b, '\n')
}

// appendFixed writes n·10^-decimals without the zeros at its end.
func appendFixed(b []byte, n int64, decimals int) []byte {
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	scale := int64(1)
	for range decimals {
		scale *= 10
	}
	b = strconv.AppendInt(b, n/scale, 10)
	rest := n % scale
	if rest == 0 {
		return b
	}
	b = append(b, '.')
	for scale /= 10; rest > 0; scale /= 10 {
		b = append(b, byte('0'+rest/scale))
		rest %= scale
	}
	return b
}

var errNumber = errors.New("not a number")

// parseFixed is the reverse of appendFixed. Digits beyond decimals are cut off.
func parseFixed(s string, decimals int) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	negative := strings.HasPrefix(whole, "-")
	if len(frac) > decimals {
		frac = frac[:decimals]
	}
	n, err := strconv.ParseInt(whole+frac+strings.Repeat("0", decimals-len(frac)), 10, 64)
	if err != nil || strings.ContainsAny(frac, "+-") {
		return 0, fmt.Errorf("%w: %.40q", errNumber, s)
	}
	if negative && n > 0 {
		n = -n
	}
	return n, nil
}

func appendFlags(b []byte, f Flags) []byte {
	first := true
	for i, name := range flagNames {
		if f>>i&1 == 0 {
			continue
		}
		if !first {
			b = append(b, ' ')
		}
		b, first = append(b, name...), false
	}
	return b
}

func parseFlags(s string) (f Flags, err error) {
	for _, word := range strings.Fields(s) {
		known := false
		for i, name := range flagNames {
			if word == name {
				f |= 1 << i
				known = true
			}
		}
		if !known {
			return 0, fmt.Errorf("unknown flag %.40q", word)
		}
	}
	return f, nil
}

// appendRanges writes "5-9 2 0", as a range of one number is that number.
func appendRanges(b []byte, rs []Range) []byte {
	for i, r := range rs {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, r.First, 10)
		if r.Last != r.First {
			b = append(b, '-')
			b = strconv.AppendInt(b, r.Last, 10)
		}
	}
	return b
}

func parseRanges(s string) (rs []Range, err error) {
	for _, word := range strings.Fields(s) {
		lo, hi, two := strings.Cut(word, "-")
		if !two {
			hi = lo
		}
		first, err1 := strconv.ParseInt(lo, 10, 64)
		last, err2 := strconv.ParseInt(hi, 10, 64)
		if err1 != nil || err2 != nil || first < 0 || last < first {
			return nil, fmt.Errorf("bad range %.40q", word)
		}
		rs = append(rs, Range{first, last})
	}
	return rs, nil
}

// appendField quotes where RFC 4180 wants it.
func appendField(b []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(b, s...)
	}
	b = append(b, '"')
	b = append(b, bytes.ReplaceAll([]byte(s), []byte(`"`), []byte(`""`))...)
	return append(b, '"')
}
