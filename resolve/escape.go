package resolve

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns s with everything replaced that could steer a terminal or
// change how the text around it reads: the C0 and C1 control characters, DEL,
// the bidirectional controls, line and paragraph separators, the byte order
// mark, and bytes that are not UTF-8. Bytes become \DDD, as in the
// presentation format of the DNS (RFC 1035 section 5.1); other characters
// become \u{XXXX}. A string that needs no change is returned as it is.
//
// It is not safetext.Clean because that doubles backslashes, which names and
// data in presentation format are full of already.
//
// Every text that came from the network passes through Escape before it is
// printed: names, record data, the text of extended errors, NSID.
func Escape(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return escapeFrom(s, i)
		}
	}
	return s
}

func escapeFrom(s string, i int) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n <= 1, r < ' ', r == 0x7f:
			writeDDD(&b, s[i])
		case Unprintable(r):
			b.WriteString(`\u{`)
			b.WriteString(strconv.FormatInt(int64(r), 16))
			b.WriteByte('}')
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func writeDDD(b *strings.Builder, c byte) {
	b.WriteByte('\\')
	b.WriteByte('0' + c/100)
	b.WriteByte('0' + c/10%10)
	b.WriteByte('0' + c%10)
}

// Unprintable reports whether r must not reach a terminal or a log raw: it is
// a control character, a bidirectional control, a separator that breaks lines,
// or another invisible formatting character.
func Unprintable(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r <= 0x9f:
		return true
	case r < 0x100:
		return r == 0xad // soft hyphen: invisible
	case r == 0x2028, r == 0x2029:
		return true
	}
	// Cf holds the bidi controls (U+061C, U+200E, U+200F, U+202A to U+202E,
	// U+2066 to U+2069), the zero-width characters, tags and U+FEFF.
	return unicode.Is(unicode.Cf, r)
}
