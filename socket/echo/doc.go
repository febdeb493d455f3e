// Package echo is an echo server for TCP and UDP (RFC 862) and a ping that
// measures the round trip to one.
//
// # Server
//
// A [Server] sends back what it gets, to many clients at once. Any program that
// can open a socket may be a client:
//
//	$ echo hello | nc -N 192.0.2.1 7557
//	hello
//
// It is fit to stand on an open network. On UDP an answer is never longer than
// what was asked (no amplification), and a datagram whose sender cannot be a
// client is not answered: two echo servers that are shown a forged datagram from
// each other would else play it back and forth for ever. On TCP there are bounds
// on the clients at once and on how long one may be idle or refuse to read.
//
// # Ping
//
// A [Pinger] sends numbered probes at a steady rate, whether or not answers come,
// and reports round-trip times, loss, duplicates, reordering and jitter. On TCP
// the time to connect is told apart from the times of the echoes.
//
// A round trip over TCP includes what TCP does about loss: nothing is ever lost
// or reordered there, it is late.
//
// # Wire format
//
// A probe is Size bytes long, at least [MinSize], and integers are big-endian:
//
//	 0  4  "wpng"
//	 4  8  session, random: answers to another run are not taken for ours
//	12  8  sequence number, from 0
//	20  8  time of sending in ns since the run began, for readers of a capture
//	28  …  filling: byte i is i mod 256
//
// On TCP probes follow each other without anything between them.
package echo
