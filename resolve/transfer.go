package resolve

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/miekg/dns"
)

// A ZoneTransfer asks a server for a whole zone (AXFR, RFC 5936) or for what
// changed in it (IXFR, RFC 1995), over TCP or TLS (RFC 9103).
type ZoneTransfer struct {
	Zone   string
	Server Upstream // UDP means TCP here
	// Serial, if not nil, is the serial of the copy at hand: the changes since
	// are asked for.
	Serial *uint32
	// Key signs the query and verifies the answer; nil means neither.
	Key     *TSIGKey
	Options *Options
	// MaxRecords stops a transfer that never ends; 0 means 50 million.
	MaxRecords int
	// Idle is how long is waited for the next message; 0 means 30 s.
	Idle time.Duration
}

// TransferStats tells how a zone transfer went.
type TransferStats struct {
	Records, Messages int
	Bytes             int64
	Took              time.Duration
	// Incremental says that an IXFR was answered with changes, not with the
	// whole zone; UpToDate that there are none.
	Incremental, UpToDate bool
	Serial                uint32 // of the zone now
	Verified              bool   // every message, by TSIG
	Signed                int    // messages that carry a signature; it covers those before it
}

// TransferError is a zone transfer that the server refused.
type TransferError struct {
	Zone   string
	Server Upstream
	Rcode  int
}

func (e *TransferError) Error() string {
	return fmt.Sprintf("%s will not transfer %s: %s", e.Server, DisplayName(e.Zone), RcodeName(e.Rcode))
}

// Run yields the records in the order in which they come, the SOA record
// first and, again, last. If the transfer fails the last pair has an error:
// what came before is then not the zone. With a key, records of messages that
// are not signed themselves are held back until the next signature covers
// them. stats, if not nil, is filled in as the transfer goes on.
func (t *ZoneTransfer) Run(ctx context.Context, stats *TransferStats) iter.Seq2[dns.RR, error] {
	return func(yield func(dns.RR, error) bool) {
		if stats == nil {
			stats = new(TransferStats)
		}
		start := time.Now()
		defer func() { stats.Took = time.Since(start) }()
		if err := t.run(ctx, stats, yield); err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

var errStopped = errors.New("stopped")

func (t *ZoneTransfer) run(ctx context.Context, st *TransferStats, yield func(dns.RR, error) bool) error {
	o := t.Options
	if o == nil {
		o = &Options{}
	}
	u := t.Server
	switch u.Scheme {
	case UDP, "":
		u.Scheme = TCP
	case TCP, TLS:
	default:
		return &ServerError{u, "transfer a zone from", fmt.Errorf("%w: zones move over tcp or tls", ErrNoTransport)}
	}
	name, err := ParseName(t.Zone)
	if err != nil {
		return err
	}
	wire, id, tsig, err := t.query(dns.Fqdn(name))
	if err != nil {
		return err
	}
	idle := t.Idle
	if idle <= 0 {
		idle = 30 * time.Second
	}
	dctx, cancel := context.WithTimeout(ctx, idle)
	conn, err := o.dialStream(dctx, u, u.Scheme == TLS, nil)
	cancel()
	if err != nil {
		if ctx.Err() == nil && isTimeout(err) {
			err = &TimeoutError{Servers: []Upstream{u}, After: idle, Tries: 1}
		}
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(aLongTimeAgo) })()
	fail := func(op string, err error) error {
		if ctx.Err() != nil {
			return ctxError(ctx)
		}
		if isTimeout(err) {
			return &TimeoutError{Servers: []Upstream{u}, After: idle, Tries: 1}
		}
		return &ServerError{u, op, err}
	}
	conn.SetDeadline(time.Now().Add(idle))
	out := binary.BigEndian.AppendUint16(nil, uint16(len(wire)))
	if _, err := conn.Write(append(out, wire...)); err != nil {
		return fail("send to", err)
	}
	x := &transferState{zone: dns.Fqdn(name), ixfr: t.Serial, stats: st, max: t.MaxRecords}
	if x.max <= 0 {
		x.max = 50e6
	}
	buf := make([]byte, 1<<16)
	var held []dns.RR
	for !x.done {
		conn.SetReadDeadline(time.Now().Add(idle))
		if ctx.Err() != nil { // the deadline just set may have undone its effect
			return ctxError(ctx)
		}
		if _, err := io.ReadFull(conn, buf[:2]); err != nil {
			if err == io.EOF {
				err = errors.New("the server closed the connection in the middle of the transfer")
			}
			return fail("transfer a zone from", err)
		}
		n := int(binary.BigEndian.Uint16(buf))
		if _, err := io.ReadFull(conn, buf[:n]); err != nil {
			return fail("transfer a zone from", err)
		}
		msg := new(dns.Msg)
		if n < headerLen || msg.Unpack(buf[:n]) != nil {
			return fail("transfer a zone from", ErrMalformed)
		}
		if !msg.Response || msg.Id != id || len(msg.Question) > 1 ||
			len(msg.Question) == 1 && dns.CanonicalName(msg.Question[0].Name) != dns.CanonicalName(name) {
			return fail("transfer a zone from", ErrMismatch)
		}
		st.Messages++
		st.Bytes += int64(n) + 2
		if msg.Rcode != dns.RcodeSuccess {
			// A refusal for a bad key is signed with none: the reason is in
			// the TSIG record.
			if tsig != nil && msg.IsTsig() != nil && msg.IsTsig().Error != 0 {
				return fail("transfer a zone from", tsig.check(buf[:n], msg, false))
			}
			return &TransferError{name, u, msg.Rcode}
		}
		if err := x.take(msg.Answer); err != nil {
			return fail("transfer a zone from", err)
		}
		held = append(held, msg.Answer...)
		if tsig != nil {
			if err := tsig.check(buf[:n], msg, x.done); err != nil {
				return fail("transfer a zone from", err)
			}
			if len(tsig.pending) > 0 {
				continue
			}
			st.Signed++
		}
		for _, rr := range held {
			if !yield(rr, nil) {
				return errStopped
			}
		}
		held = held[:0]
	}
	st.Verified = tsig != nil
	return nil
}

func (t *ZoneTransfer) query(zone string) (wire []byte, id uint16, s *tsigSession, err error) {
	m := new(dns.Msg)
	m.Id = randomUint16()
	m.Question = []dns.Question{{Name: zone, Qtype: dns.TypeAXFR, Qclass: dns.ClassINET}}
	if t.Serial != nil {
		m.Question[0].Qtype = dns.TypeIXFR
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET},
			Ns: ".", Mbox: ".", Serial: *t.Serial}}
	}
	if t.Key == nil {
		wire, err = m.Pack()
	} else {
		s = &tsigSession{key: t.Key}
		wire, err = s.sign(m, time.Now().Unix())
	}
	if err != nil {
		return nil, 0, nil, fmt.Errorf("pack query for the transfer of %s: %w", Escape(zone), err)
	}
	return wire, m.Id, s, nil
}

// transferState knows from the SOA records where a transfer ends: an AXFR
// with the second SOA record, an IXFR (RFC 1995 section 4) at once if the
// first is not newer than ours, with the second if what follows it is not an
// SOA record (it is the whole zone then), and otherwise when the SOA record
// of the current serial comes where a new difference would begin.
type transferState struct {
	zone  string
	ixfr  *uint32
	stats *TransferStats
	max   int
	done  bool

	first    *dns.SOA
	deleting bool // within an IXFR: the SOA record just seen began deletions
}

func (x *transferState) take(rrs []dns.RR) error {
	for i, rr := range rrs {
		if x.done {
			return fmt.Errorf("%w: %d records after the end of the zone", ErrMalformed, len(rrs)-i)
		}
		x.stats.Records++
		if x.stats.Records > x.max {
			return fmt.Errorf("the transfer is longer than %d records", x.max)
		}
		if !dns.IsSubDomain(x.zone, rr.Header().Name) {
			return fmt.Errorf("%w: %s is not within %s", ErrMalformed, Escape(rr.Header().Name), DisplayName(x.zone))
		}
		soa, isSOA := rr.(*dns.SOA)
		switch {
		case x.first == nil:
			if !isSOA {
				return fmt.Errorf("%w: the first record is not SOA", ErrMalformed)
			}
			x.first = soa
			x.stats.Serial = soa.Serial
		case x.ixfr == nil || !x.stats.Incremental && x.stats.Records > 2:
			x.done = isSOA
		case x.stats.Records == 2:
			switch {
			case !isSOA:
			case soa.Serial == x.first.Serial:
				x.done = true // a zone of nothing but its SOA record
			default:
				x.stats.Incremental, x.deleting = true, true
			}
		case isSOA && x.deleting:
			x.deleting = false
		case isSOA:
			x.done = soa.Serial == x.first.Serial
			x.deleting = true
		}
	}
	// A lone SOA record that is not newer than ours is a whole answer.
	if x.ixfr != nil && x.stats.Records == 1 && !serialNewer(x.first.Serial, *x.ixfr) {
		x.done, x.stats.UpToDate = true, true
	}
	if x.first == nil {
		return fmt.Errorf("%w: no records", ErrMalformed)
	}
	return nil
}

// serialNewer compares serial numbers (RFC 1982).
func serialNewer(a, b uint32) bool { return int32(a-b) > 0 }

func hexDecode(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
