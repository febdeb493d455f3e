package resolve_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
)

// signer signs as RFC 8945 sections 4.3 and 5.3.1 say, written from the text
// and without the library, so that it can disagree with what is tested.
type signer struct {
	key     []byte
	prior   []byte // the MAC before
	pending []byte
	first   bool
}

func (s *signer) sign(msg []byte) []byte {
	now := uint64(time.Now().Unix())
	h := hmac.New(sha256.New, s.key)
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s.prior))))
	h.Write(s.prior)
	h.Write(s.pending)
	h.Write(msg)
	timers := binary.BigEndian.AppendUint64(nil, now)[2:]
	timers = binary.BigEndian.AppendUint16(timers, 300)
	if s.first {
		v := []byte("\x08test-key\x00\x00\xff\x00\x00\x00\x00\x0bhmac-sha256\x00")
		v = append(v, timers...)
		h.Write(append(v, 0, 0, 0, 0)) // no error, no other data
	} else {
		h.Write(timers)
	}
	s.prior, s.pending, s.first = h.Sum(nil), nil, false
	rr := &dns.TSIG{Hdr: dns.RR_Header{Name: "test-key.", Rrtype: dns.TypeTSIG, Class: dns.ClassANY},
		Algorithm: "hmac-sha256.", TimeSigned: now, Fudge: 300, MACSize: 32, MAC: hex.EncodeToString(s.prior), OrigId: binary.BigEndian.Uint16(msg)}
	buf := make([]byte, 512)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		panic(err)
	}
	out := append(append([]byte(nil), msg...), buf[:n]...)
	binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(out[10:])+1)
	return out
}

// TestTransferSignedNow and then sends transfers of which some messages are
// unsigned, as servers may, and some that are tampered with.
func TestTransferSignedNowAndThen(t *testing.T) {
	key, err := resolve.ParseTSIGKey(strings.NewReader(tsigName + ":" + tsigSecret))
	if err != nil {
		t.Fatal(err)
	}
	const soa = "z.test. 60 IN SOA ns.z.test. h.z.test. 1 2 3 4 5"
	const messages = 220
	for _, tt := range []struct {
		name   string
		signed func(i int) bool
		tamper int // the message to change after signing, -1 for none
		ok     bool
	}{
		{"all", func(int) bool { return true }, -1, true},
		{"every third", func(i int) bool { return i%3 == 0 || i == messages-1 }, -1, true},
		{"every hundredth", func(i int) bool { return i%100 == 0 || i == messages-1 }, -1, true},
		{"too few", func(i int) bool { return i == 0 || i == messages-1 }, -1, false},
		{"first is not", func(i int) bool { return i > 0 }, -1, false},
		{"last is not", func(i int) bool { return i != messages-1 }, -1, false},
		{"unsigned one changed", func(i int) bool { return i%3 == 0 || i == messages-1 }, 4, false},
		{"signed one changed", func(i int) bool { return i%3 == 0 || i == messages-1 }, 3, false},
		{"last changed", func(i int) bool { return true }, messages - 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := dnstest.NewFaultServer(t, nil, func(_ int, q []byte, send func([]byte)) {
				m := new(dns.Msg)
				if err := m.Unpack(q); err != nil {
					t.Error(err)
				}
				prior, err := hex.DecodeString(m.IsTsig().MAC)
				if err != nil {
					t.Error(err)
				}
				sg := &signer{key: key.Secret, prior: prior, first: true}
				for i := range messages {
					rr := fmt.Sprintf("n%d.z.test. 60 IN A 192.0.2.1", i)
					if i == 0 || i == messages-1 {
						rr = soa
					}
					b := dnstest.Answer(q, nil, rr)
					if tt.signed(i) {
						b = sg.sign(b)
					} else {
						sg.pending = append(sg.pending, b...)
					}
					if i == tt.tamper {
						b = append([]byte(nil), b...)
						at := strings.Index(string(b), "\x04\xc0\x00\x02\x01") // the address
						if at < 0 {
							at = strings.Index(string(b), "\x00\x00\x00\x3c") - 2 // the SOA record's TTL
						}
						b[at+3] ^= 1
					}
					send(b)
				}
			})
			rrs, st, err := transfer(t, &resolve.ZoneTransfer{Zone: "z.test", Server: upstream(t, "tcp", s.Addr), Key: key})
			switch {
			case tt.ok && (err != nil || len(rrs) != messages || !st.Verified):
				t.Errorf("%d records, %+v, %v", len(rrs), st, err)
			case !tt.ok && !errors.Is(err, resolve.ErrTSIG):
				t.Errorf("%d records, %+v, error %v", len(rrs), st, err)
			case !tt.ok && tt.tamper > 0 && len(rrs) > tt.tamper:
				t.Errorf("%d records were given out, the %dth is forged", len(rrs), tt.tamper)
			}
		})
	}
}
