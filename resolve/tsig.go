package resolve

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/miekg/dns"
)

// A TSIGKey is a secret shared with a server (RFC 8945).
type TSIGKey struct {
	Name      string // of the key, absolute
	Algorithm string // such as hmac-sha256.
	Secret    []byte
}

// ErrTSIG means that a signed answer could not be verified; do not trust it.
var ErrTSIG = errors.New("the TSIG signature cannot be verified")

func tsigHash(algorithm string) func() hash.Hash {
	switch algorithm {
	case dns.HmacSHA1:
		return sha1.New
	case dns.HmacSHA224:
		return sha256.New224
	case dns.HmacSHA256:
		return sha256.New
	case dns.HmacSHA384:
		return sha512.New384
	case dns.HmacSHA512:
		return sha512.New
	}
	return nil
}

// ParseTSIGKey reads a key from r in one of the forms that other tools write:
// a statement of BIND's (tsig-keygen),
//
//	key "name" { algorithm hmac-sha256; secret "…base64…"; };
//
// or the one line that dig -y and kdig -y take, [algorithm:]name:secret. The
// algorithm is hmac-sha256 unless it is given. A secret is never part of an
// error.
func ParseTSIGKey(r io.Reader) (*TSIGKey, error) {
	b, err := io.ReadAll(io.LimitReader(r, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("read TSIG key: %w", err)
	}
	var text strings.Builder
	sc := bufio.NewScanner(strings.NewReader(string(b)))
	for sc.Scan() {
		line := sc.Text()
		for _, mark := range []string{"//", "#"} {
			// A secret may hold "//", so comments start a line or follow a space.
			if t := strings.TrimSpace(line); strings.HasPrefix(t, mark) {
				line = ""
			} else if i := strings.Index(line, " "+mark); i >= 0 {
				line = line[:i]
			}
		}
		text.WriteString(line + "\n")
	}
	s := strings.TrimSpace(text.String())
	name, algorithm, secret := "", "hmac-sha256", ""
	if strings.HasPrefix(s, "key ") || strings.HasPrefix(s, "key\"") || strings.HasPrefix(s, "key\t") {
		f := strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n\";{}", r) })
		if len(f) >= 2 {
			name = f[1]
		}
		for i := 2; i+1 < len(f); i++ {
			switch f[i] {
			case "algorithm":
				i++
				algorithm = f[i]
			case "secret":
				i++
				secret = f[i]
			}
		}
	} else {
		switch f := strings.Split(s, ":"); len(f) {
		case 2:
			name, secret = f[0], f[1]
		case 3:
			algorithm, name, secret = f[0], f[1], f[2]
		}
	}
	if name == "" || secret == "" {
		return nil, errors.New("TSIG key: neither a key statement nor [algorithm:]name:secret")
	}
	n, err := ParseName(name)
	if err != nil {
		return nil, fmt.Errorf("TSIG key: %w", err)
	}
	k := &TSIGKey{Name: dns.CanonicalName(n), Algorithm: dns.CanonicalName(algorithm)}
	if tsigHash(k.Algorithm) == nil {
		return nil, fmt.Errorf("TSIG key %s: algorithm %q is not supported", Escape(name), Escape(algorithm))
	}
	if k.Secret, err = base64.StdEncoding.DecodeString(secret); err != nil || len(k.Secret) == 0 {
		return nil, fmt.Errorf("TSIG key %s: the secret is not base64", Escape(name))
	}
	return k, nil
}

// tsigSession signs a query and verifies the messages of its answer, of which
// up to 99 in a row may be unsigned (RFC 8945 section 5.3.1). miekg/dns
// computes the signatures; what it does not know is that unsigned messages
// count towards the next one, so they are slipped in where it calls back.
type tsigSession struct {
	key     *TSIGKey
	mac     string // of the message before, in hex
	pending []byte // unsigned messages since
	skipped int
	first   bool // the next message is the first one of the answer
}

func (s *tsigSession) sum(msg []byte) []byte {
	h := hmac.New(tsigHash(s.key.Algorithm), s.key.Secret)
	h.Write(msg)
	return h.Sum(nil)
}

// Generate implements dns.TsigProvider.
func (s *tsigSession) Generate(msg []byte, t *dns.TSIG) ([]byte, error) { return s.sum(msg), nil }

// Verify implements dns.TsigProvider.
func (s *tsigSession) Verify(msg []byte, t *dns.TSIG) error {
	if dns.CanonicalName(t.Hdr.Name) != s.key.Name || dns.CanonicalName(t.Algorithm) != s.key.Algorithm {
		return dns.ErrKeyAlg
	}
	// msg is the length and the MAC of the message before, then this one.
	if n := 2 + len(s.mac)/2; len(s.pending) > 0 && n <= len(msg) {
		full := make([]byte, 0, len(msg)+len(s.pending))
		full = append(full, msg[:n]...)
		full = append(full, s.pending...)
		msg = append(full, msg[n:]...)
	}
	// Whole MACs only: nobody truncates them in transfers.
	if got := hexDecode(t.MAC); !hmac.Equal(s.sum(msg), got) {
		return dns.ErrSig
	}
	return nil
}

func (s *tsigSession) sign(m *dns.Msg, now int64) ([]byte, error) {
	m.SetTsig(s.key.Name, s.key.Algorithm, 300, now)
	wire, mac, err := dns.TsigGenerateWithProvider(m, s, "", false)
	s.mac, s.first = mac, true
	return wire, err
}

// maxUnsigned is how many messages in a row may come unsigned.
const maxUnsigned = 99

// check verifies one message of the answer. last says that the answer ends
// with it, in which case it must be signed.
func (s *tsigSession) check(wire []byte, m *dns.Msg, last bool) error {
	t := m.IsTsig()
	if t == nil {
		s.skipped++
		if s.first || last || s.skipped > maxUnsigned {
			return fmt.Errorf("%w: a message that must be signed is not", ErrTSIG)
		}
		s.pending = append(s.pending, wire...)
		return nil
	}
	if t.Error != dns.RcodeSuccess {
		name := dns.RcodeToString[int(t.Error)]
		if t.Error == dns.RcodeBadSig {
			name = "BADSIG"
		}
		return fmt.Errorf("%w: the server says %s", ErrTSIG, name)
	}
	// TsigVerify strips the record in place.
	if err := dns.TsigVerifyWithProvider(append([]byte(nil), wire...), s, s.mac, !s.first); err != nil {
		return fmt.Errorf("%w: %v", ErrTSIG, err)
	}
	s.mac, s.first, s.pending, s.skipped = t.MAC, false, s.pending[:0], 0
	return nil
}
