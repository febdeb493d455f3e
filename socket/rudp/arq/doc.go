// Package arq is wherry's reliable transport over datagrams, without the
// datagrams: a state machine that is handed what arrived and the time, and
// hands out what to send and when to be called again. It imports no socket and
// reads no clock; the same code runs on real networks (package rudp) and in
// simulated time (package sim), where equal seeds give equal traces to the bit.
//
// A connection carries one stream of bytes each way, in order, each byte once,
// with flow control, congestion control, and an end that both sides know of.
// It does not encrypt: TLS runs on top, and whoever captures packets can read
// the numbers. What protects a connection from those who do not see its
// packets are 64-bit random connection IDs, the cookie, and the challenge that
// a new address has to answer.
//
// # Life of a connection
//
//	   Dial                                       Acceptor
//	    |  INIT ---------------------------------> keeps nothing
//	    |  <------------------------------- RETRY  cookie = MAC(address, ID, time)
//	    |  OPEN: cookie, and data ---------------> checks it; Accept
//	    |  <-------------------------------- data     |
//	    v                                             v
//	+-------------------------- established ------------------------+
//	+---------------------------------------------------------------+
//	    | both streams delivered,     | CLOSE          | silence,
//	    | Close, Abort, bad input     | arrives        | RESET
//	    v                             v                v
//	 closing: CLOSE, repeated ----> answers once ---> done
//	          until answered
//
// INIT is padded to 1200 bytes and every answer to it is shorter, so a server
// amplifies nothing; it takes memory only for clients that echoed a cookie. RETRY
// has all that a client needs to know of the connection that there will be, so
// data leave after one round trip: until something comes back that is not a RETRY,
// each packet of the client is an OPEN, which carries the cookie and the client's
// parameters in front of its frames, and whichever arrives first makes the
// connection. Its ID at the server is a MAC of the client's address and ID: an
// OPEN that arrives again finds the connection that the first made, and for as
// long as a cookie is good the ID of one that is over is not used again, so
// that replaying OPENs makes nothing. A cookie that is not good any more is
// answered with another.
//
// # Datagrams
//
// One UDP datagram is one packet. All integers are big-endian.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+---------------+---------------+
//	|    'W' 0x57   |  version (2)  |     type      |   flags (0)   |
//	+---------------+---------------+---------------+---------------+
//	|              checksum: CRC-32C of all but itself              |
//	+---------------------------------------------------------------+
//	|                  destination connection ID                    |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|  packet number (data, open), or source connection ID (others) |
//	|                                                               |
//	+---------------------------------------------------------------+
//	|  frames (data), or as below (others)                      ...
//
//	type         body
//	0 data       frames
//	1 init       parameters, client's clock µs (32), zeros to 1200 bytes
//	2 retry      parameters, reset token (128), the INIT's clock (32), cookie length
//	             (16), cookie; the source ID is that of the connection to be
//	3 open       packet number in the header's last field; then source connection
//	             ID (64), parameters, cookie length (16), cookie, frames: at least
//	             128 bytes in all
//	4 version    the versions that the server speaks, a byte each
//	5 reset      reset token (128); the source ID is the unknown one
//
// Parameters are the first window (64), the largest datagram that the end can
// receive (32), its idle timeout in milliseconds (32), the protocol that it runs
// (8: 0 model, 1 stop-and-wait, 2 go-back-N, 3 selective repeat, 4 none), a zero
// (8), and the window of a textbook protocol in frames (16).
//
// The place of magic, version, type, checksum and IDs, that an INIT of any version
// is at least 1200 bytes long, and how it is answered with the versions that a
// server speaks, will be so in all versions.
//
// Packet numbers start at 0, rise by one with every packet, whatever is in it,
// and are never used twice: what was lost is sent again under a new number, so
// an acknowledgement is never ambiguous. Where bytes belong in the stream says
// the offset in their frame.
//
// The checksum is there because UDP's, of 16 bits, is made anew by everything
// that rewrites packets (NAT, relays, emulators): what they corrupt they also
// vouch for. Without it one flipped bit would end a TLS session; with it, it is
// one more lost packet. It costs a twentieth to a seventh of a microsecond a packet.
//
// # Frames
//
// Numbers in brackets are bits.
//
//	0 PAD        zeros to the end
//	1 DATA       flags (8): 1 is FIN | length (16) | offset (64) | bytes
//	2 ACK        form (8) | n (16) | largest (64) | delay µs (32) |
//	             receiver's clock µs (32) | ECT count (32) | CE count (32) |
//	             ranges (form 0) or bitmap (form 1), whichever is shorter
//	3 WINDOW     limit (64): bytes of the stream that may be sent in all
//	4 PING       wants an ACK
//	5 CHALLENGE  token (64)
//	6 RESPONSE   token (64)
//	7 SENDER     floor (64) | ACK every n packets (16) | or after µs (32)
//	8 CLOSE      kind (8): 1 is the application's | length (16) | code (32) |
//	             reason, at most 256 bytes of UTF-8
//	9 DATAGRAM   number (64), from 1 | sender's clock µs (64) | length (16) |
//	             bytes; alone in its packet
//
//	ranges: n times  gap (16) | run (16)      downward from the largest; the
//	                                          first gap is 0
//	bitmap: n bytes, the first byte's highest bit is the largest number
//
// An ACK is sent every n packets or after the delay that SENDER asks for (64,
// and an eighth of the round trip), at once when a number is missing, when a
// congestion mark arrives, and at the end of the stream. It tells of all
// numbers from SENDER's floor up, below which the sender knows all it wants to
// know, so a lost ACK loses nothing. Packets with nothing but ACK and WINDOW
// are not acknowledged. Limits and floors only ever rise; lower ones are old
// news. A packet that makes no sense although its checksum is right ends the
// connection with a CLOSE that says why.
//
// # Loss
//
// Losses are found as in RFC 9002: by three later packets, by time, by probe
// timeouts. Where packets overtake each other the packet threshold is dropped
// and the time adapts to how late they come, as in RFC 8985. At the end of the
// stream, and where the application waits for the peer's answer (Conn.EndTurn),
// nothing new is left to send, and idle capacity carries copies of what is in
// flight, as many as the measured loss makes worthwhile.
//
// # Congestion control
//
// [Model], the default, measures the bandwidth, the length, and the loss of
// the path, paces at what arrives divided by the share that arrives, and keeps
// the queue short: the skeleton is that of BBR, with a loss floor that makes it
// indifferent to what the path loses by itself, and a governor that sends less as
// the delay grows. A queue that stands all the same may be several flows' of this
// kind, or somebody's who listens to loss only. To tell, the model yields: it
// sends three quarters of what arrives. If all do, the delay falls by a quarter of
// the time that passes, whatever the capacity and the length of the path are. If
// it falls half as fast or slower, the model plays CUBIC against whoever that is,
// from the window that it had, and dips now and then to see whether he has gone.
// What each phase does and why stands in model.go, yield.go and compete.go.
//
// [Cubic] is RFC 9438; [Fixed] sends at one rate.
//
// # Textbook protocols
//
// [Config.ARQ] puts one of three classic protocols in the place of loss
// detection, acknowledgement, window and congestion control; the packets stay
// what they are, and so does everything around. They are for teaching and for
// comparison. A frame is what a full packet carries, always the same number of
// bytes ([FramePayload]); names are those of the textbooks, counted in frames:
//
//	       UNA                NXT              WND = UNA + N
//	        |  sent            |  may be sent   |
//	--------+------------------+----------------+-------->
//
//	                  N        receiver            when a timer runs out
//	stop-and-wait     1        keeps what comes    the frame is sent again
//	go-back-N         Window   only in order       all from UNA up are
//	selective repeat  Window   keeps what comes    that frame is, each has one
//
// Timeouts are [Config.RTO], or by RFC 6298. A receiver acknowledges each packet
// that it takes, at once and in a packet of its own; since an ACK tells of all
// packets from the floor up, that of go-back-N is cumulative, and no protocol
// minds a lost ACK that another follows. Packet numbers never repeat, so there is
// no doubt which copy an ACK is for: an alternating bit and Karn's rule are not
// needed. Nothing slows these senders down but the window and Config.Rate.
//
// Both ends must run the same. The INIT and the RETRY say which; an end that
// listens and was told nothing follows the one that dials. Where they differ the
// client closes with code 7, and both report an [*ARQError].
//
// In simulation they reach the utilisation that W. Stallings (Data and Computer
// Communications, appendix 7A) computes, within 2.1% for a of 0.1 to 10 and losses
// of 0 to 10%, where his assumptions hold (TestClosedForm tells how they are made
// to). A window of selective repeat that only just covers the round trip stands
// still behind each loss, which his formula leaves out: at a = 10, p = 10% and
// N = 21 it carries 0.53 and not 0.90 (TestSelectiveRepeatStalls).
//
// # Datagrams sent once
//
// With [NoARQ] the stream goes on as the model has it, and beside it
// [Conn.SendDatagram] sends datagrams that nobody acknowledges and nobody sends
// again, at [Config.DatagramRate], as DATAGRAM frames (compare RFC 9221). They
// are numbered and stamped; [Conn.Datagrams] reports what the path did to them.
// Both ends must have asked for it.
//
// # Fast and short paths
//
// Below some 180 Mbit/s packets leave one by one, as the pacer lets them. Above,
// they wait up to 64 µs for a train to fill that one system call can take
// (UDP_SEGMENT: 44 packets of 1472 bytes), within an eighth of the window and the
// pacer's half millisecond. Between two hosts on a switch, or two processes on
// one, it is their schedulers that are measured and not the path: no path counts
// as shorter than 1 ms, no round as shorter than 10 ms, up to 5 ms of delay are
// nobody's queue, a probe timeout takes at least 5 ms, and it takes 100 ms of
// silence for everything in flight to be given up.
//
// # Memory
//
// The stream lies in blocks of 16 KiB on its way, at most [Config.SendBuffer] and
// [Config.RecvBuffer] of them (24 MiB each), little of it written before it can be
// sent. A window is 512 KiB until the application reads, then 8 MiB, then doubles
// with every quarter read. Packets and acknowledgements allocate nothing.
//
// An owner that can send from several places and receives into memory that it can
// spare saves the copies to and from datagrams: [Conn.PollGather] and
// [Conn.HandleChunk] do what [Conn.PollTransmit] and [Conn.HandleDatagram] do.
//
// # Datagram size
//
// The size starts at 1200 bytes of UDP payload and is searched upward by probes
// (RFC 8899) as far as [Config.MaxDatagram]. Probes are sent alone, never in a
// batch, and their loss says nothing about congestion. When large packets stop
// arriving (a probe timeout fires after four of them without an answer even though
// packets still leave, and from the second on sends small ones) the size falls
// back within a second or two, whatever ICMP says or does not say.
//
// # Goodput in simulation
//
// Mbit/s of stream over a 100 Mbit/s link with Bernoulli loss each way behind a
// tail-drop queue of 1 BDP, 100 MB including the handshake, start and end. What
// the link can carry is 95.7·(1−p).
//
//	loss \ RTT    10 ms    30 ms    50 ms   100 ms   200 ms   300 ms
//	      0.0%     94.3     93.1     92.3     90.0     86.8     83.1
//	      0.1%     94.2     93.0     92.0     89.7     86.0     81.9
//	      1.0%     93.7     92.4     91.7     88.8     85.5     79.7
//	      2.0%     92.9     91.7     90.4     88.0     83.8     80.5
//	      5.0%     89.9     88.2     87.3     85.3     79.9     74.7
//	     10.0%     84.5     83.1     81.8     79.6     76.3     71.4
//	     20.0%     74.8     73.4     72.8     71.0     64.9     62.2
//
// # Shares in simulation
//
// Of 100 Mbit/s the model takes so many percent beside one [Cubic] flow over the
// minute that begins 10 s after the first of the two; before and after the
// stroke, where CUBIC and where the model was there 5 s earlier.
//
//	queue \ RTT   10 ms   30 ms   50 ms  100 ms  200 ms
//	    0.5 BDP   89/88   60/62   57/67   57/61   55/58
//	    1.0 BDP   55/53   55/60   58/54   60/57   53/58
//	    2.0 BDP   52/52   62/65   62/61   62/58   32/55
//	    4.0 BDP   59/62   65/53   62/48   42/33   20/46
//	    8.0 BDP   58/44   62/50   48/52   25/31    6/37
//
// Where a CUBIC flow has filled a queue of half a second or more, a minute is too
// short for a newcomer to win his share. Before a queue that CUBIC alone cannot
// keep full the model does not mind it.
//
// Jain's index of five models that begin 1.3 s after each other, over the minute
// from 15 s on; before and after the stroke without loss and with 1%. Two have
// 0.98 and more in all cells but, without loss, 200 ms and 4 or 8 BDP: 0.92.
//
//	queue \ RTT     10 ms       30 ms       50 ms      100 ms      200 ms
//	    0.5 BDP   .95/.89     .73/.93     .98/.65     .66/.39     .81/.42
//	    1.0 BDP   .99/.98     .99/.99     .99/.99     .98/.98    1.00/.77
//	    2.0 BDP  1.00/.99   1.00/1.00    .99/1.00    1.00/.88     .95/.90
//	    4.0 BDP 1.00/1.00    .99/1.00     .99/.99     .98/.98     .87/.88
//	    8.0 BDP 1.00/1.00    .99/1.00     .99/.99     .99/.92     .90/.82
//
// All of these are of one seed, and made by
//
//	WHERRY_GRID=1 go test -run TestGrid -v ./socket/rudp/arq
//
// or `make fairness`, which takes three seeds. `make wan` runs the program over
// real links, beside the kernel's CUBIC.
package arq
