package safetext

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain name.txt", "plain name.txt"},
		{"naïve 日本 👩‍👧", "naïve 日本 👩‍👧"},
		{"a\nb\tc\r", `a\nb\tc\r`},
		{"\x1b[31mred\x1b]0;title\a", `\x1b[31mred\x1b]0;title\a`},
		{"csi \u009b31m", `csi \u009b31m`},
		{"raw csi \x9b31m", `raw csi \x9b31m`},
		{"\u202egpj.exe", `\u202egpj.exe`},
		{"\u2066x\u2069", `\u2066x\u2069`},
		{"caf\xe9", `caf\xe9`},
		{`back\slash`, `back\\slash`},
		{"\ufeffbom\u200bzero", `\ufeffbom\u200bzero`},
		{"del\x7f", `del\x7f`},
		{"line\u2028sep", `line\u2028sep`},
	} {
		if got := Clean(c.in); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func TestQuoteAndTruncate(t *testing.T) {
	if got := Quote("a\"b\n"); got != `"a\"b\n"` {
		t.Errorf("Quote = %s", got)
	}
	if got := Truncate("日本語", 4); got != "日…" {
		t.Errorf("Truncate cut a rune: %q", got)
	}
}

// FuzzClean holds Clean to its promise: valid UTF-8, nothing that a terminal
// obeys, and no two different inputs that print alike.
func FuzzClean(f *testing.F) {
	f.Add("a\x1b[m", "a\\x1b[m")
	f.Add("\u202e", "\\u202e")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			out := Clean(s)
			if !utf8.ValidString(out) {
				t.Fatalf("Clean(%q) is not UTF-8: %q", s, out)
			}
			for _, r := range out {
				if unicode.IsControl(r) || strings.ContainsRune("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c", r) {
					t.Fatalf("Clean(%q) lets %U through", s, r)
				}
			}
		}
		if a != b && Clean(a) == Clean(b) {
			t.Fatalf("%q and %q print alike: %q", a, b, Clean(a))
		}
	})
}
