// Package safetext makes text that came from somebody else safe to print.
//
// File names, error texts, banners and DNS data may hold bytes that a terminal
// obeys: escape sequences that move the cursor, rename the window or type
// answers, and Unicode characters that reorder what stands around them. Clean
// turns each of them into a visible escape in the notation of Go and C, so that
// two different names never print alike and nothing is obeyed:
//
//	"a\nb"          -> a\nb
//	"\x1b[31mred"   -> \x1b[31mred
//	"\u202egpj.exe" -> \u202egpj.exe
//	"caf\xe9"       -> caf\xe9      (not UTF-8)
//	"back\\slash"   -> back\\slash  (so that escapes are unambiguous)
//
// Escaped are C0 (U+0000–001F), DEL, C1 (U+0080–009F), the bidirectional
// controls of UAX #9, the line and paragraph separators, zero-width and other
// format characters (Unicode category Cf) and bytes that are not UTF-8. The zero-width
// joiner and the variation selectors are kept, since emoji are made of them.
package safetext

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean returns s with everything that a terminal might obey replaced by a
// visible escape. A string that needs no change is returned as it is, without
// allocation.
func Clean(s string) string {
	i := firstUnsafe(s)
	if i < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x`)
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		case r == '\\':
			b.WriteString(`\\`)
		case unsafeRune(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// Quote is Clean inside double quotes, with quotes inside escaped; for names
// within a sentence.
func Quote(s string) string {
	return `"` + strings.ReplaceAll(Clean(s), `"`, `\"`) + `"`
}

// Truncate is Clean of at most max bytes of s, with an ellipsis where something
// was cut; for texts whose length a peer chose.
func Truncate(s string, max int) string {
	if len(s) <= max {
		return Clean(s)
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return Clean(s[:max]) + "…"
}

const hex = "0123456789abcdef"

func firstUnsafe(s string) int {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == 0x7f || c == '\\' {
				return i
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && n == 1) || unsafeRune(r) {
			return i
		}
		i += n
	}
	return -1
}

func unsafeRune(r rune) bool {
	switch {
	case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0):
		return true
	case r == 0x200d: // zero-width joiner: family emoji and several scripts need it
		return false
	case r == 0x2028 || r == 0x2029:
		return true
	case r >= 0xe000 && r <= 0xf8ff:
		return false // private use: icon fonts; harmless
	}
	return unicode.Is(unicode.Cf, r)
}
