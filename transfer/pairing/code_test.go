package pairing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

func TestParseCode(t *testing.T) {
	for _, tt := range []struct {
		in     string
		number int
		words  string // "" for an error
	}{
		{"17-cedar-otter", 17, "cedar-otter"},
		{"  17  Cedar OTTER\r\n", 17, "cedar-otter"},
		{"17—cedar–otter", 17, "cedar-otter"},         // em dash, en dash
		{"17‑cedar‐otter", 17, "cedar-otter"},         // non-breaking hyphen, hyphen
		{"17 cedar−otter", 17, "cedar-otter"},         // minus sign
		{"17_cedar__otter", 17, "cedar-otter"},        // underscores
		{"１７　ＣＥＤＡＲ　otter", 17, "cedar-otter"},         // wide forms
		{"cedar-otter", 0, "cedar-otter"},             // no number
		{"0017-cedar-otter", 17, "cedar-otter"},       // leading zeros
		{"ce\u00addar-ot\u200bter", 0, "cedar-otter"}, // soft hyphen, zero-width space
		{"0-cedar", 0, "0-cedar"},                     // 0 is no offer's number
		{"10000-cedar", 0, "10000-cedar"},             // nor is this
		{"99999999999999999999-x", 0, "99999999999999999999-x"},
		{"17-18-19", 17, "18-19"},
		{"hunter2", 0, "hunter2"},
		{"Žluťoučký kůň", 0, "žluťoučký-kůň"},
		{"Z\u030clut\u030couc\u030cky\u0301 ku\u030an\u030c", 0, "žluťoučký-kůň"}, // decomposed
		{"秘密の言葉", 0, "秘密の言葉"},
		{"", 0, ""},
		{" - – — ", 0, ""},
		{"17", 0, ""},
		{"17-", 0, ""},
		{"cedar\x1b[31m-otter", 0, ""},
		{"cedar\x00otter", 0, ""},
		{"cedar\xff", 0, ""},
		{strings.Repeat("x", 257), 0, ""},
	} {
		c, err := ParseCode(tt.in)
		if tt.words == "" {
			if !errors.Is(err, ErrCode) {
				t.Errorf("ParseCode(%q) = %v, want ErrCode", tt.in, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("ParseCode(%q): %v", tt.in, err)
			continue
		}
		if c.Number() != tt.number || c.secret().words != tt.words {
			t.Errorf("ParseCode(%q) = %d, %q; want %d, %q", tt.in, c.Number(), c.secret().words, tt.number, tt.words)
		}
	}
}

func TestErrorsHoldNoCode(t *testing.T) {
	for _, in := range []string{"hunter\x1b2", "hunter2\xff", strings.Repeat("hunter2 ", 100)} {
		if _, err := ParseCode(in); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("ParseCode: %v", err)
		}
	}
}

func TestNewCode(t *testing.T) {
	shape := regexp.MustCompile(`^17-[a-z]+-[a-z]+$`)
	seen := map[string]bool{}
	for range 200 {
		c, err := NewCode(17)
		if err != nil {
			t.Fatal(err)
		}
		if !shape.MatchString(c.Reveal()) {
			t.Fatalf("code %q", c.Reveal())
		}
		back, err := ParseCode(c.Reveal())
		if err != nil || back.secret().words != c.secret().words || back.Number() != 17 {
			t.Fatalf("%q reads back as %q, %v", c.Reveal(), back.Reveal(), err)
		}
		seen[c.secret().words] = true
	}
	// Of 2^22, 200 draws hold a pair alike once in 200 runs; ten alike never.
	if len(seen) < 190 {
		t.Errorf("%d different codes of 200", len(seen))
	}
	for _, n := range []int{-1, MaxNumber + 1} {
		if _, err := NewCode(n); err == nil {
			t.Errorf("NewCode(%d) succeeded", n)
		}
	}
	if _, err := newCode(1, generatedWords, bytes.NewReader(nil)); err == nil {
		t.Error("a code without randomness")
	}
}

func TestWords(t *testing.T) {
	words := Words()
	if len(words) != 2048 {
		t.Fatalf("%d words, want 2,048", len(words))
	}
	prefixes := map[string]string{}
	for i, w := range words {
		if len(w) < 3 || len(w) > 6 {
			t.Errorf("%q has %d letters", w, len(w))
		}
		if i > 0 && words[i-1] >= w {
			t.Errorf("%q before %q", words[i-1], w)
		}
		p := w[:min(4, len(w))]
		if other, ok := prefixes[p]; ok {
			t.Errorf("%q and %q begin alike", other, w)
		}
		prefixes[p] = w
	}
	// A change of the list is no break of the protocol, but must be meant.
	sum := sha256.Sum256([]byte(strings.Join(words, "\n")))
	if got := hex.EncodeToString(sum[:8]); got != wordsDigest {
		t.Errorf("the list's digest is %s, want %s", got, wordsDigest)
	}
}

func TestCodeIsNeverPrinted(t *testing.T) {
	c, err := ParseCode("17-cedar-otter")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Reveal(); got != "17-cedar-otter" {
		t.Errorf("Reveal = %q", got)
	}
	type exported struct{ Code Code }
	type hidden struct{ code Code }
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		for name, v := range map[string]any{"code": c, "pointer": &c, "field": exported{c}, "hidden field": hidden{c},
			"slice": []Code{c}, "map": map[string]Code{"k": c}} {
			args := []any{v}
			if strings.HasPrefix(verb, "%T") {
				args = append(args, v)
			}
			outputs[name+" "+verb] = fmt.Sprintf(verb, args...)
		}
	}
	j, err := json.Marshal(exported{c})
	if err != nil {
		t.Fatal(err)
	}
	outputs["json"] = string(j)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("hello", "code", c, "struct", exported{c})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("hello", "code", c, "struct", exported{c})
	outputs["slog"] = log.String()
	outputs["error"] = fmt.Errorf("pairing with %v: %w", c, ErrWrongCode).Error()
	secretHex := hex.EncodeToString([]byte("cedar"))
	for name, s := range outputs {
		if strings.Contains(s, "cedar") || strings.Contains(s, "otter") || strings.Contains(strings.ToLower(s), secretHex) {
			t.Errorf("%s shows the words: %s", name, s)
		}
	}
	if got := fmt.Sprint(c); got != "17-[redacted]" {
		t.Errorf("Sprint = %q", got)
	}
	if got := fmt.Sprint(Code{}); got != "no code" || !(Code{}).IsZero() || (Code{}).Reveal() != "" {
		t.Errorf("the zero Code prints %q", got)
	}
	if _, err := (Code{}).password(); !errors.Is(err, ErrCode) {
		t.Errorf("the zero Code's password: %v", err)
	}
}

func FuzzParseCode(f *testing.F) {
	for _, s := range []string{"17-cedar-otter", "１７　ＣＥＤＡＲ", "İstanbul ﬁ", "a\u0300\u0323", "ẞß", "\u1e9b\u0323", "a\u00ad\u0301", "17−x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			return
		}
		// What we print, the other end must read as the same secret.
		back, err := ParseCode(c.Reveal())
		if err != nil {
			if len(c.Reveal()) > maxCodeLen {
				return // normalising may lengthen
			}
			t.Fatalf("%q: its form %q is refused: %v", s, c.Reveal(), err)
		}
		if back.secret().words != c.secret().words || back.number != c.number {
			t.Fatalf("%q gives %q, which gives %q", s, c.Reveal(), back.Reveal())
		}
	})
}

const wordsDigest = "2dff301ccba42326"
