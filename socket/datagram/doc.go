// Package datagram is UDP in batches: as few system calls as the system lets
// a program get by with, and none of the surprises.
//
// A [Conn] sends and receives [Message]s. A message is one datagram, or a train
// of datagrams of equal size to or from one address that the kernel cuts or has
// joined: what it is, [Message.Segment] says, and on every system and in every
// mode it means the same. The ways of doing it, best first:
//
//	Segmented  Linux: UDP_SEGMENT on sending (one call, one walk through the
//	           network stack for up to 64 KiB), UDP_GRO on receiving
//	Batched    Linux: sendmmsg(2) and recvmmsg(2), a datagram each
//	Plain      everywhere: one call a datagram, through package net
//
// # What goes wrong with segmentation, and what is done
//
// Segmentation depends on the device that a packet leaves by, so it is decided
// for each peer. Where the device cannot (EIO), or the kernel refuses (EINVAL),
// the train is sent again singly; if that works, the peer gets single datagrams
// from then on. Where a driver or a middlebox loses trains and nobody reports
// it, a [Comparison] of both ways notices.
//
// # Sending
//
// UDP may lose packets, and so may the local host: full queues (ENOBUFS),
// firewall rules (EPERM), and datagrams longer than the interface's MTU
// (EMSGSIZE; fragmentation is turned off, for path MTU discovery) are counted
// in [Stats] and not errors, since a protocol above must survive them anyhow
// and a retry would only add load. The first EPERM is tried again: Linux's
// connection tracking gives a spurious one now and then while it makes its
// entry. What remains are errors about the address or the socket.
//
// # Receiving
//
// The receive buffer is raised with SO_RCVBUFFORCE where the process may, else
// with SO_RCVBUF as far as the system allows. Datagrams that the host dropped
// since nobody read them are told apart from network loss (SO_RXQ_OVFL), in
// [Stats.HostDrops].
//
// # Blocking
//
// Calls block the goroutine and not a thread: the sockets belong to Go's
// netpoller, and deadlines work. One goroutine at a time may call ReadBatch; any
// number may call WriteBatch. Neither allocates.
//
// # Timers
//
// Go's timers have the grain of epoll_wait(2), a millisecond. Pacing at a
// gigabit a second means a burst of 64 KiB each half of one. A [Timer] is a
// timerfd(2) in the netpoller and wakes within about 50 µs; elsewhere it is what
// the runtime has.
//
// # Impairments
//
// With [Options.Impair] what this socket sends goes through a
// [github.com/wherry-net/wherry/socket/netem.Link] first, packet by packet.
package datagram
