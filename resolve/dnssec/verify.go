package dnssec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"sort"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Limits against zones built to burn time (CVE-2023-50387, CVE-2023-50868).
const (
	MaxSignatures = 8   // signatures looked at for one RRset
	MaxKeys       = 4   // public-key operations spent on one RRset
	MaxIterations = 50  // extra NSEC3 iterations followed (RFC 9276)
	MaxHashes     = 256 // NSEC3 hashes computed for one response
)

// SupportedAlgorithm says whether signatures of this algorithm are verified.
func SupportedAlgorithm(alg uint8) bool {
	switch alg {
	case dns.RSASHA1, dns.RSASHA1NSEC3SHA1, dns.RSASHA256, dns.RSASHA512,
		dns.ECDSAP256SHA256, dns.ECDSAP384SHA384, dns.ED25519:
		return true
	}
	return false
}

// SupportedDigest says whether DS records with this digest type are followed.
func SupportedDigest(digest uint8) bool {
	return digest == dns.SHA1 || digest == dns.SHA256 || digest == dns.SHA384
}

// Why a set was not verified, ordered from least to most telling: of several
// signatures that all fail, the most telling failure is reported.
type failure int

const (
	failNone failure = iota
	failMissing
	failMalformed
	failAlgorithm
	failNoKey
	failLimit
	failNotYet
	failExpired
	failSignature
)

type verifyError struct {
	why failure
	sig *dns.RRSIG // the signature that failed so, if any
}

// verifySet checks that one of the set's signatures was made by one of keys of
// zone and is valid at now (RFC 4035, section 5.3). It returns the signature
// that verified.
func verifySet(now time.Time, set *RRset, zone string, keys []*dns.DNSKEY) (*dns.RRSIG, *verifyError) {
	worst := &verifyError{why: failMissing}
	note := func(why failure, sig *dns.RRSIG) {
		if why > worst.why {
			worst = &verifyError{why, sig}
		}
	}
	owner := dns.CountLabel(set.Name)
	if strings.HasPrefix(set.Name, "*.") {
		owner-- // the asterisk does not count (RFC 4034, section 3.1.3)
	}
	spent := 0
	for i, sig := range set.Sigs {
		if i >= MaxSignatures {
			note(failLimit, sig)
			break
		}
		if sig.TypeCovered != set.Type || int(sig.Labels) > owner ||
			dns.CanonicalName(sig.SignerName) != zone || !dns.IsSubDomain(zone, set.Name) ||
			len(set.RRs) == 0 || sig.Header().Class != set.RRs[0].Header().Class {
			note(failMalformed, sig)
			continue
		}
		if !SupportedAlgorithm(sig.Algorithm) {
			note(failAlgorithm, sig)
			continue
		}
		switch valid := inTime(sig, now); {
		case valid > 0:
			note(failExpired, sig)
			continue
		case valid < 0:
			note(failNotYet, sig)
			continue
		}
		note(failNoKey, sig)
		for _, key := range keys {
			if key.Algorithm != sig.Algorithm || key.Protocol != 3 ||
				key.Flags&dns.ZONE == 0 || key.KeyTag() != sig.KeyTag {
				continue
			}
			if spent++; spent > MaxKeys {
				note(failLimit, sig)
				return nil, worst
			}
			if verifySignature(sig, key, set.RRs) == nil {
				return sig, nil
			}
			note(failSignature, sig)
		}
	}
	return nil, worst
}

// inTime compares in serial-number arithmetic, as RFC 4034, section 3.1.5 says:
// -1 before inception, 1 after expiration, 0 between.
func inTime(sig *dns.RRSIG, now time.Time) int {
	t := uint32(now.Unix())
	if int32(sig.Expiration-sig.Inception) < 0 {
		return 1 // expires before it begins: never valid
	}
	if int32(t-sig.Inception) < 0 {
		return -1
	}
	if int32(sig.Expiration-t) < 0 {
		return 1
	}
	return 0
}

var errSignature = errors.New("the signature does not verify")

func verifySignature(sig *dns.RRSIG, key *dns.DNSKEY, rrs []dns.RR) error {
	data, err := signedData(sig, rrs)
	if err != nil {
		return err
	}
	pub, err := base64.StdEncoding.DecodeString(key.PublicKey)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(sig.Signature)
	if err != nil {
		return err
	}
	ok := false
	switch sig.Algorithm {
	case dns.RSASHA1, dns.RSASHA1NSEC3SHA1:
		h := sha1.Sum(data)
		ok = verifyRSA(pub, crypto.SHA1, h[:], raw)
	case dns.RSASHA256:
		h := sha256.Sum256(data)
		ok = verifyRSA(pub, crypto.SHA256, h[:], raw)
	case dns.RSASHA512:
		h := sha512.Sum512(data)
		ok = verifyRSA(pub, crypto.SHA512, h[:], raw)
	case dns.ECDSAP256SHA256:
		h := sha256.Sum256(data)
		ok = verifyECDSA(elliptic.P256(), pub, h[:], raw)
	case dns.ECDSAP384SHA384:
		h := sha512.Sum384(data)
		ok = verifyECDSA(elliptic.P384(), pub, h[:], raw)
	case dns.ED25519:
		ok = len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, data, raw)
	}
	if !ok {
		return errSignature
	}
	return nil
}

// digestInfo is the DER prefix of PKCS #1 v1.5 signatures (RFC 8017, 9.2).
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA1:   {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14},
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// verifyRSA verifies a PKCS #1 v1.5 signature. It is done here because
// crypto/rsa refuses keys below 1024 bits, which RFC 5702 still allows (512 and
// up), and exponents above 2^31; everything here is public, so there is nothing
// for constant time to protect.
func verifyRSA(pub []byte, hash crypto.Hash, digest, sig []byte) bool {
	// RFC 3110, section 2: one or three octets of exponent length.
	if len(pub) < 3 {
		return false
	}
	elen, off := int(pub[0]), 1
	if elen == 0 {
		elen, off = int(binary.BigEndian.Uint16(pub[1:])), 3
	}
	// A long exponent is the cheap way to make verification dear.
	if elen == 0 || elen > 8 || len(pub) <= off+elen {
		return false
	}
	e := new(big.Int).SetBytes(pub[off : off+elen])
	n := new(big.Int).SetBytes(pub[off+elen:])
	size := (n.BitLen() + 7) / 8
	if n.BitLen() < 512 || n.BitLen() > 4096 || n.Bit(0) == 0 || len(sig) != size {
		return false
	}
	s := new(big.Int).SetBytes(sig)
	if s.Cmp(n) >= 0 {
		return false
	}
	prefix := digestInfo[hash]
	pad := size - 3 - len(prefix) - len(digest)
	if pad < 8 {
		return false
	}
	want := append(make([]byte, 0, size), 0, 1)
	want = append(want, bytes.Repeat([]byte{0xff}, pad)...)
	want = append(append(append(want, 0), prefix...), digest...)
	got := s.Exp(s, e, n).FillBytes(make([]byte, size))
	return subtle.ConstantTimeCompare(got, want) == 1
}

func verifyECDSA(curve elliptic.Curve, pub, digest, sig []byte) bool {
	size := curve.Params().BitSize / 8
	if len(pub) != 2*size || len(sig) != 2*size {
		return false
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, pub...))
	if err != nil {
		return false
	}
	return ecdsa.Verify(key, digest, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
}

// signedData is the octets that a signature covers: the RRSIG without its
// signature, then the records in canonical form and order (RFC 4034, 3.1.8.1
// and section 6).
func signedData(sig *dns.RRSIG, rrs []dns.RR) ([]byte, error) {
	head := *sig
	head.Signature = ""
	head.SignerName = dns.CanonicalName(sig.SignerName)
	hb, err := packRR(&head)
	if err != nil {
		return nil, err
	}
	out := rdata(hb)
	var canon [][]byte
	for _, rr := range rrs {
		c := dns.Copy(rr)
		h := c.Header()
		h.Ttl = sig.OrigTtl
		h.Name = dns.CanonicalName(h.Name)
		if n := dns.CountLabel(h.Name); n > int(sig.Labels) {
			// Expanded from a wildcard: signed as the wildcard.
			h.Name = child("*", Ancestor(h.Name, int(sig.Labels)))
		}
		lowerRdata(c)
		b, err := packRR(c)
		if err != nil {
			return nil, err
		}
		canon = append(canon, b)
	}
	sort.Slice(canon, func(i, j int) bool { return bytes.Compare(rdata(canon[i]), rdata(canon[j])) < 0 })
	for i, b := range canon {
		if i > 0 && bytes.Equal(rdata(b), rdata(canon[i-1])) {
			continue // duplicates count once (RFC 4034, section 6.3)
		}
		out = append(out, b...)
	}
	return out, nil
}

func packRR(rr dns.RR) ([]byte, error) {
	buf := make([]byte, dns.Len(rr)+256)
	n, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// rdata is the part of a packed record after its owner, type, class, TTL and
// length.
func rdata(b []byte) []byte {
	i := 0
	for i < len(b) && b[i] != 0 {
		i += 1 + int(b[i])
	}
	if i += 1 + 10; i > len(b) {
		return nil
	}
	return b[i:]
}

// lowerRdata lowers the names inside the data of the types that RFC 4034,
// section 6.2 lists, as RFC 6840, section 5.1 corrects it.
func lowerRdata(rr dns.RR) {
	l := dns.CanonicalName
	switch x := rr.(type) {
	case *dns.NS:
		x.Ns = l(x.Ns)
	case *dns.MD:
		x.Md = l(x.Md)
	case *dns.MF:
		x.Mf = l(x.Mf)
	case *dns.CNAME:
		x.Target = l(x.Target)
	case *dns.SOA:
		x.Ns, x.Mbox = l(x.Ns), l(x.Mbox)
	case *dns.MB:
		x.Mb = l(x.Mb)
	case *dns.MG:
		x.Mg = l(x.Mg)
	case *dns.MR:
		x.Mr = l(x.Mr)
	case *dns.PTR:
		x.Ptr = l(x.Ptr)
	case *dns.MINFO:
		x.Rmail, x.Email = l(x.Rmail), l(x.Email)
	case *dns.MX:
		x.Mx = l(x.Mx)
	case *dns.RP:
		x.Mbox, x.Txt = l(x.Mbox), l(x.Txt)
	case *dns.AFSDB:
		x.Hostname = l(x.Hostname)
	case *dns.RT:
		x.Host = l(x.Host)
	case *dns.PX:
		x.Map822, x.Mapx400 = l(x.Map822), l(x.Mapx400)
	case *dns.NAPTR:
		x.Replacement = l(x.Replacement)
	case *dns.KX:
		x.Exchanger = l(x.Exchanger)
	case *dns.SRV:
		x.Target = l(x.Target)
	case *dns.DNAME:
		x.Target = l(x.Target)
	case *dns.RRSIG:
		x.SignerName = l(x.SignerName)
	}
}

// matchDS says whether the DS record is the digest of the key.
func matchDS(ds *dns.DS, key *dns.DNSKEY) bool {
	if key.Algorithm != ds.Algorithm || key.Flags&dns.ZONE == 0 || key.Protocol != 3 || key.KeyTag() != ds.KeyTag {
		return false
	}
	c := *key
	c.Hdr.Name = dns.CanonicalName(key.Hdr.Name)
	made := c.ToDS(ds.DigestType)
	if made == nil {
		return false
	}
	want, err := hex.DecodeString(ds.Digest)
	if err != nil {
		return false
	}
	got, err := hex.DecodeString(made.Digest)
	return err == nil && bytes.Equal(got, want)
}
