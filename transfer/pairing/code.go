package pairing

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/wherry-net/wherry/transfer/pairing/spake2"
)

const (
	// MaxNumber is the largest number of a code. Numbers from 1 on name offers
	// on one local network, so few are ever needed.
	MaxNumber = 9999

	// maxCodeLen bounds what Parse reads, in bytes.
	maxCodeLen = 256

	// generatedWords is how many words NewCode draws: 2 * 11 bits.
	generatedWords = 2

	redacted = "[redacted]"
)

// ErrCode is the error of [ParseCode] for what can be no code. Its text never
// holds what was typed.
var ErrCode = errors.New("not a code")

// A Code is what both ends know: a public number that names an offer (optional)
// and the secret words. The zero value is no code.
//
// Printing a Code, by any verb, as JSON, as text or in a log, shows the number
// but never the words; [Code.Reveal] is for its owner's eyes.
type Code struct {
	number int
	// A func, since fmt prints no more of one than an address, even where it
	// cannot call our methods (a Code in an unexported field) and by a verb that
	// follows pointers.
	secret func() *secret
}

type secret struct {
	words string
	once  sync.Once
	pw    *spake2.Password
	err   error
	guard *Guard // for listeners that bring none
}

func newSecret(words []string) func() *secret {
	s := &secret{words: strings.Join(words, "-"), guard: NewGuard(GuardConfig{})}
	return func() *secret { return s }
}

// NewCode draws a code with the given number (1 to MaxNumber; 0 for none): two
// words of [Words], 22 bits from crypto/rand. That is enough because each guess
// takes a run with somebody who knows the code, and three wrong ones burn it.
func NewCode(number int) (Code, error) { return newCode(number, generatedWords, rand.Reader) }

// NewLongCode draws a code of so many words, without a number, for what somebody may
// guess at without a run for each guess: 11 bits a word.
func NewLongCode(words int) (Code, error) { return newCode(0, words, rand.Reader) }

func newCode(number, words int, random io.Reader) (Code, error) {
	if number < 0 || number > MaxNumber {
		return Code{}, fmt.Errorf("making a code: number %d is not within 0 and %d", number, MaxNumber)
	}
	list := Words()
	drawn := make([]string, words)
	for i := range drawn {
		n, err := rand.Int(random, big.NewInt(int64(len(list))))
		if err != nil {
			return Code{}, fmt.Errorf("making a code: %w", err)
		}
		drawn[i] = list[n.Int64()]
	}
	return Code{number: number, secret: newSecret(drawn)}, nil
}

// ParseCode reads a code as people type it: in any case, words parted by spaces,
// dashes of any kind or underscores, with or without a leading number. Any words
// will do when users choose them. The secret is the words alone, in Unicode form
// NFKC, lower case, joined by dashes; so "17 Cedar–OTTER" and "cedar-otter" are
// the same secret.
//
// The error is [ErrCode], wrapped with why.
func ParseCode(s string) (Code, error) {
	if len(s) > maxCodeLen {
		return Code{}, fmt.Errorf("%w: longer than %d bytes", ErrCode, maxCodeLen)
	}
	if !utf8.ValidString(s) {
		return Code{}, fmt.Errorf("%w: not UTF-8 text", ErrCode)
	}
	words, err := fields(s)
	if err != nil {
		return Code{}, err
	}
	c := Code{}
	if len(words) > 0 {
		// A number too large to be an offer's is the first word.
		if n, ok := number(words[0]); ok {
			c.number = n
			words = words[1:]
		}
	}
	if len(words) == 0 {
		if c.number != 0 {
			return Code{}, fmt.Errorf("%w: a number, but no words", ErrCode)
		}
		return Code{}, fmt.Errorf("%w: no words", ErrCode)
	}
	c.secret = newSecret(words)
	return c, nil
}

// fields normalises s and splits it into words.
func fields(s string) ([]string, error) {
	// NFKC also makes the wide forms that some input methods produce ordinary.
	// It stands around the case folding because each can undo the other.
	s = norm.NFKC.String(strings.ToLower(norm.NFKC.String(s)))
	for _, r := range s {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return nil, fmt.Errorf("%w: it holds a control character", ErrCode)
		}
	}
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1 // soft hyphens, joiners and marks of direction: invisible, so never meant
		}
		return r
	}, s)
	// Dropping those may have brought together what composes.
	s = norm.NFKC.String(s)
	return strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) || r == '−' || r == '_'
	}), nil
}

func number(s string) (int, bool) {
	for _, r := range s {
		if r < '0' || r > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 1 && n <= MaxNumber
}

// Number is the public number that names the offer, or 0.
func (c Code) Number() int { return c.number }

// WithNumber is the same secret under another number.
func (c Code) WithNumber(n int) Code { c.number = n; return c }

// IsZero says that there is no code.
func (c Code) IsZero() bool { return c.secret == nil }

// Reveal is the whole code, for printing it to its owner and nothing else.
func (c Code) Reveal() string {
	if c.secret == nil {
		return ""
	}
	return c.prefix() + c.secret().words
}

func (c Code) prefix() string {
	if c.number == 0 {
		return ""
	}
	return strconv.Itoa(c.number) + "-"
}

// String shows the number and hides the words.
func (c Code) String() string {
	if c.secret == nil {
		return "no code"
	}
	return c.prefix() + redacted
}

// Format is String for every verb.
func (c Code) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// GoString is String.
func (c Code) GoString() string { return c.String() }

// MarshalText is String; so JSON shows no words either.
func (c Code) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalJSON is String as a JSON string.
func (c Code) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(c.String())), nil }

// LogValue is String.
func (c Code) LogValue() slog.Value { return slog.StringValue(c.String()) }

// stretchSalt keeps this protocol's secrets apart from any other's. It cannot
// hold the number, which one end may leave out when it dials an address.
const stretchSalt = "wherry pairing, code words"

// password stretches the words, once for all copies of the code.
func (c Code) password() (*spake2.Password, error) {
	if c.secret == nil {
		return nil, fmt.Errorf("%w: there is none", ErrCode)
	}
	s := c.secret()
	s.once.Do(func() { s.pw, s.err = spake2.Stretch([]byte(s.words), []byte(stretchSalt)) })
	return s.pw, s.err
}

// Prepare begins to stretch the words, so that it is done when they are needed: it
// takes longer than connecting does.
func (c Code) Prepare() { go func() { _, _ = c.password() }() }
