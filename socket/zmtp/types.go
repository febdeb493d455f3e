package zmtp

import "github.com/wherry-net/wherry/socket/safetext"

// A Type is what a socket does with messages.
type Type byte

// The types that this package has, and those whose peers they may be.
const (
	PUSH Type = iota + 1
	PULL
	PUB
	SUB
	PAIR
	DEALER
	ROUTER
	req  // a peer of ROUTER
	rep  // a peer of DEALER
	xpub // a peer of SUB
	xsub // a peer of PUB
)

var typeNames = [...]string{PUSH: "PUSH", PULL: "PULL", PUB: "PUB", SUB: "SUB", PAIR: "PAIR", DEALER: "DEALER", ROUTER: "ROUTER", req: "REQ", rep: "REP", xpub: "XPUB", xsub: "XSUB"}

// String is the type's name in READY.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "?"
}

func parseType(p []byte) (Type, error) {
	for t, name := range typeNames {
		if name != "" && name == string(p) {
			return Type(t), nil
		}
	}
	return 0, malformed("socket type %s", safetext.Quote(string(p[:min(len(p), 20)])))
}

// talks are the peers of each type (RFC 37, "The Socket-Type Property").
var talks = map[Type][]Type{
	PUSH: {PULL}, PULL: {PUSH}, PUB: {SUB, xsub}, SUB: {PUB, xpub}, PAIR: {PAIR},
	DEALER: {ROUTER, DEALER, rep}, ROUTER: {DEALER, ROUTER, req},
}

func (t Type) talksTo(peer Type) bool {
	for _, p := range talks[t] {
		if p == peer {
			return true
		}
	}
	return false
}

func (t Type) sends() bool    { return t != PULL && t != SUB }
func (t Type) receives() bool { return t != PUSH && t != PUB }
