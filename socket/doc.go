// Package socket is the layer through which every subcommand of wherry opens
// its sockets: dialing, listening, socket options, byte counters, what the
// kernel knows about a connection, and errors that a caller can tell apart.
//
// # Addresses
//
// [ParseHostPort] reads what a person types (":7557", "host", "host:port",
// "192.0.2.1", "[2001:db8::1]:port", "2001:db8::1", "fe80::1%eth0") and fills in
// [DefaultPort]. It looks nothing up.
//
// # Dialing
//
// A [Dialer] finds the addresses of a host and races them as RFC 8305 (Happy
// Eyeballs version 2) describes: families interleaved, a new attempt every 250
// ms or as soon as one fails, the first connection wins and the others are
// closed. Unlike [net.Dialer], which reports the first error and drops the
// rest, a failed dial returns a [*DialError] that holds every [Attempt]. Its
// zero value is ready for use:
//
//	var d socket.Dialer
//	conn, err := d.Dial(ctx, "files.example:7557")
//	switch {
//	case errors.Is(err, socket.ErrUnknownHost): // a typing error?
//	case errors.Is(err, socket.ErrRefused):     // the host is up, nobody listens
//	case errors.Is(err, socket.ErrTimeout):     // a firewall, or the host is down
//	}
//
// # Listening
//
// [Listen] binds at once; [Listener.Accept] takes a context. Options are set on
// the listening socket before listen(2), because the congestion control
// algorithm and the window scale (which follows from the receive buffer, RFC
// 7323) are settled during the handshake.
//
// # Options
//
// [Options] says what is to differ from the system's defaults; its zero value
// changes nothing. An option that this system does not have is an
// [*OptionError] that matches [errors.ErrUnsupported]; it is never dropped
// silently.
//
//	                     Linux  macOS, BSD  Windows
//	Family, Source       yes    yes         yes
//	SendBuffer, Receive… yes    yes         yes
//	KeepAlive, Nagle     yes    yes         yes
//	DSCP                 yes    yes         no (needs the qWAVE service)
//	Congestion           yes    no          no
//	PacingRate           yes    no          no
//
// # Connections
//
// A [Conn] is a [net.Conn] that counts bytes and the time spent inside Read and
// Write ([Conn.Counters]). The kernel's short cuts stay open: [io.Copy] from an
// [*os.File] to a Conn ends in sendfile(2), from a Conn to a file or to another
// Conn in splice(2), and [Conn.WriteBuffers] in writev(2), all of them counted.
//
// # What limited the transfer
//
// [Conn.TCPInfo] reads the kernel's view of a connection (tcp_info on Linux,
// tcp_connection_info on macOS; elsewhere ok is false). [Explain] takes two
// readings and what the program itself did in between and names the textbook
// limiter: the processor, the source of the data, the receiver's window, the
// send buffer, the congestion window, pacing, or loss.
package socket
