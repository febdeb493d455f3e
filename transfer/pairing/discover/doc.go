// Package discover lets the two ends of a transfer find each other on the local
// network by a code's number: DNS-based service discovery (RFC 6763) over
// multicast DNS (RFC 6762), on IPv4 and IPv6 and every interface.
//
// Nothing here is trusted or secret. An offer says where something listens, and
// pairing finds out whether it is the right one: a forged answer can make an
// offer not found, and no more. Nothing is broadcast that names a person, a
// machine or a file; names are drawn anew for each offer.
//
// # Records
//
// For an offer with the number 17 (names of hexadecimal digits are random, 64
// bits; every TTL is 120 s):
//
//	_wherry._tcp.local.                   PTR  0f1e2d3c4b5a6978._wherry._tcp.local.
//	_n17._sub._wherry._tcp.local.         PTR  0f1e2d3c4b5a6978._wherry._tcp.local.
//	0f1e2d3c4b5a6978._wherry._tcp.local.  SRV  0 0 PORT 8a7b6c5d4e3f2a1b.local.
//	0f1e2d3c4b5a6978._wherry._tcp.local.  TXT  "v=1" "t=tcp" "n=17"
//	8a7b6c5d4e3f2a1b.local.               A, AAAA of the interface that is asked on
//	_n17._claim._wherry._tcp.local.       TXT  "i=0f1e2d3c4b5a6978"
//
// TXT holds the protocol's version, the transport (tcp or udp) and the number.
// The last record is what makes a number unique: it is claimed as RFC 6762,
// section 8, claims a name, by three probes a quarter of a second apart, with
// section 8.2's order deciding between two who probe at once. An offer that finds
// its number in use takes another, unless it was given, so two pairs on one
// network never dial each other's listeners.
//
// # Shape
//
// responder and browser are state machines without I/O or clock: packets, links
// and the time go in, packets and candidates come out. sockets.go is the edge.
// Messages are packed and parsed by golang.org/x/net/dns/dnsmessage, which is all
// that this needs of a DNS library.
package discover
