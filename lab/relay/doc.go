// Package relay passes UDP datagrams and TCP connections on to one address and
// does to them what a bad link would. It needs no rights and works on every
// system.
//
//	r, err := relay.Listen(ctx, relay.Options{Listen: "127.0.0.1:7000", To: server, Link: link})
//	err = r.Serve(ctx)
//	stats := r.Stats()
//
// # UDP
//
// The relay is a NAT: each client address gets a socket of its own towards the
// target, so the target sees as many peers as there are clients, and its answers
// find the way back. A client is forgotten after [Options.Idle] without a
// datagram in either direction; there are at most [Options.MaxClients].
//
// All clients share one link, which has one [netem.Link] for each direction. The
// datagrams of a direction are numbered in the order in which they come, and their
// fate is drawn from seed, direction and number: with one client that sends the
// same datagrams in the same order the same ones are lost. Sizes are of payload;
// [netem.Config.Overhead] of 28 (48 over IPv6) adds the headers for the rate.
//
// What the system refuses to send, and ICMP errors that come back, are counted in
// [UDPStats.Errors]; a client sees silence, as behind a router.
//
// # TCP
//
// A relay sits above TCP, where nothing is lost: it passes bytes on, later and
// slower. Delay and jitter hold what was read for their time, in order. The rate
// is shared by the connections of a direction; when the queue before it is full
// the relay stops reading and the sender's window closes. What is on the way in
// one direction of a connection is bounded to 2.5 MiB. [Options.Reset] ends a
// share of the connections by a reset, drawn from the seed and the connection's
// number, when they have carried [Options.ResetAfter] bytes. For loss that TCP
// feels there is package box.
//
// The end of one direction (FIN) is passed on after the delay, a reset as a
// reset.
package relay
