package bulk

import (
	"strconv"

	"github.com/miekg/dns"
)

// status is what became of a name: a response code, or one of those below.
type status uint16

const (
	rcodeNoError  = dns.RcodeSuccess
	rcodeFormErr  = dns.RcodeFormatError
	rcodeNXDomain = dns.RcodeNameError
	rcodeNotImp   = dns.RcodeNotImplemented

	statusNoError status = rcodeNoError
)

// Beyond the 16 response codes that a header holds.
const (
	statusNoData    status = iota + 16 // NOERROR, but no record of the type
	statusTimeout                      // no attempt was answered
	statusNetwork                      // the last attempt failed to reach the server
	statusTruncated                    // UDP had too little room, and TCP failed
	statusMalformed                    // the line is no name
	statusNotAsked                     // all servers had gone silent
)

func (s status) String() string {
	switch s {
	case statusNoData:
		return "NODATA"
	case statusTimeout:
		return "TIMEOUT"
	case statusNetwork:
		return "NETWORK"
	case statusTruncated:
		return "TRUNCATED"
	case statusMalformed:
		return "MALFORMED"
	case statusNotAsked:
		return "NOTASKED"
	}
	if name, ok := dns.RcodeToString[int(s)]; ok {
		return name
	}
	return "RCODE" + strconv.Itoa(int(s))
}

// result is what is printed of one name. It refers to the packet that it came
// in, and is good until the buffer of that is used again.
type result struct {
	seq, line uint64
	pkt       []byte // nil if there is no answer
	text      string // the line, where the name does not give it back
	why       error  // of statusMalformed
	rtt       int64  // ns, of the last attempt
	server    int32  // -1 if none was asked
	qtype     uint16
	status    status
	attempts  uint8
	stream    bool // came by TCP or an Exchanger
	nameLen   uint8
	name      []byte // on the wire, where there is no packet
}

// setName keeps a copy: the slot that the name stands in is about to be free.
func (r *result) setName(name []byte) {
	r.name = append([]byte(nil), name...)
	r.nameLen = uint8(len(name))
}

// wire returns the name that was asked for, as it stands on the wire, or
// nothing if the line is no name.
func (r *result) wire() []byte {
	if r.pkt != nil {
		return r.pkt[headerLen : headerLen+int(r.nameLen)]
	}
	return r.name
}

// outbox collects results until they are printed, outside of the engine's
// lock.
type outbox struct {
	results []result
	blocked bool // what was printed has not been written yet: start nothing
}

const outboxMost = 512

func (o *outbox) add() *result {
	o.results = append(o.results, result{})
	return o.last()
}

func (o *outbox) last() *result { return &o.results[len(o.results)-1] }
func (o *outbox) full() bool    { return o.blocked || len(o.results) >= outboxMost }

func (o *outbox) reset() {
	clear(o.results)
	o.results = o.results[:0]
}
