// Package rudp is reliable UDP: connections that carry a stream of bytes each
// way over datagrams, by the protocol of package [arq]. A [Conn] is a [net.Conn]
// and a [Listener] a [net.Listener], so that crypto/tls and everything else that
// speaks over TCP speaks over it unchanged.
//
//	l, err := rudp.Listen(ctx, "udp", ":7557", rudp.Config{})
//	...
//	c, err := l.Accept()
//
//	c, err := rudp.Dial(ctx, netip.MustParseAddrPort("192.0.2.1:7557"), rudp.Config{})
//
// It neither encrypts nor authenticates; put TLS on top. The checksum in each
// datagram is against accidents only.
//
// # Other protocols
//
// [arq.Config].ARQ chooses a textbook protocol for the stream, or arq.NoARQ, which
// adds datagrams that are sent once ([Conn.SendDatagram]). A listener that was told
// nothing follows its clients, except to NoARQ. A client that runs another protocol
// than a listener insists on fails with an [*arq.ARQError], and so does the Accept
// that it would have been for.
//
// # Goroutines
//
// A socket has two: one receives and hands each datagram to the engine it is
// for, one waits for the earliest deadline of all engines. Each connection has
// one more, its loop, which transmits what acknowledgements and timers let go.
// What makes whole trains Write transmits itself, while it is in the processor's
// cache; one goroutine at a time does so for a connection, and whoever has news
// for it meanwhile leaves them in the engine, where it looks once more before it
// ends. While it is inside its system call, acknowledgements and writes gather for
// the next train.
//
// Bytes are copied twice in the program: by Write into the engine's buffer, out of
// which the system sends them, and by Read out of the memory in which the system
// put them. Those of messages that are no full train, or that come out of order,
// are copied into the engine's buffer in between. [Conn.Cork] makes small writes
// leave together.
//
// # How connections end
//
//	Close       delivers what was written, then ends; waits for that, at most
//	            Config.Linger
//	CloseWrite  ends this end's stream; the peer reads io.EOF
//	Abort       ends at once and tells the peer a code and a reason
//
// A peer that falls silent is given up after twelve seconds (the engine's idle
// timeout; keep-alives see to it that a living one is never silent so long). A
// client whose peer is gone while its host is not learns so by ICMP: at once
// while connecting, later after three reports over half a second with nothing
// else in between. A peer that was
// restarted resets connections it does not know.
//
// # Errors
//
// All but [io.EOF] are *[net.OpError]s that name both addresses. They wrap
// [os.ErrDeadlineExceeded], [net.ErrClosed], an errno such as
// [syscall.ECONNREFUSED], an [*arq.CloseError] from the peer, or one of package
// arq's errors; for those that are a want of answers ([arq.ErrIdleTimeout],
// [arq.ErrHandshakeTimeout]) Timeout is true.
//
// # Memory
//
// A connection holds what is written and not acknowledged and what has arrived
// and is not read, at most 24 MiB each by default, in blocks as they are needed;
// of what is not read up to 8 MiB stay in the messages that they came in, which
// take a third more than that.
// What a peer may send ahead starts at 512 KiB and grows as it is read. A Listener
// takes no memory for a client before that has proven its address, and at most
// Config.MaxConns connections.
package rudp
