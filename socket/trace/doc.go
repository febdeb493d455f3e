// Package trace writes down what a transport did, packet by packet, and reads it
// back: as qlog, which other tools know, or as CSV, which spreadsheets do.
//
//	l, err := trace.New(file, trace.Qlog, trace.Header{Start: time.Now()}, trace.Options{})
//	config.Trace = l.UDP(trace.UDPConn{...})  // reliable UDP: every packet
//	go l.TCP(ctx, conn)                       // TCP: what the kernel tells, every 10 ms
//	...
//	l.Close()
//
// Telling an event costs a copy under a lock. One goroutine formats and writes;
// what may wait for it is bounded, and events that find no room are missing and
// counted in the trace itself. Neither content nor addresses of other
// connections nor anything secret is in a trace: numbers, sizes, times, and the
// two addresses of the connection.
//
// # Events
//
//	quic:connection_started         type: udp model, tcp cubic; reason: both addresses
//	quic:connection_state_updated   type: established, closing, done
//	quic:connection_closed          type: clean, idle_timeout, error, …; reason: the error
//	quic:packet_sent                type: data, init, …; flags; packet, offset, length, size
//	quic:packet_received            the same
//	quic:packet_dropped             an arrival that was ignored; reason: duplicate, checksum, …
//	quic:packets_acked              an ACK's news: ranges, sacked, and UNA after it
//	quic:packet_lost                reason: reordering_threshold, time_threshold, pto_expired,
//	                                timer_expired, go_back
//	wherry:spurious_loss            a packet deemed lost was acknowledged after all
//	quic:recovery_metrics_updated   rtt: a sample, or a round trip has passed
//	quic:congestion_state_updated   type: the controller's new phase
//	quic:loss_timer_updated         the probe timeout expired; retransmits: how often in a row
//	quic:mtu_updated                size
//	wherry:send_window_updated      the peer allows more
//	wherry:receive_window_updated   the application has read
//	wherry:frame_window_updated     the window of a textbook protocol: frame_una, frame_nxt,
//	                                frame_wnd, counted in frames
//	wherry:link_packet              what the impaired link decides on a packet that
//	                                this end sends; type: delivered, lost, tail drop, …;
//	                                queue: bytes before the bottleneck
//	wherry:tcp_info                 a reading of TCP_INFO
//	wherry:transfer_progress        offset: content moved so far
//	wherry:events_missed            retransmits: how many found no room
//
// An event that is about sending carries the sender's state after it (una, nxt,
// wnd, in_flight, cwnd, pacing_rate, bandwidth, srtt, rttvar, min_rtt,
// queue_delay), one about receiving the receiver's (rcv_read, rcv_nxt, rcv_wnd),
// as far as it is known. The order in a file is that of the telling; an
// acknowledgement stands before the packet that brought it, since that is
// finished later.
//
// # CSV
//
// RFC 4180 with a header; what is unknown is empty. Times are in seconds since
// the trace began, to the nanosecond; rates in bit/s; everything else in bytes
// or packets. conn numbers the connections. flags is words separated by spaces.
// ranges and sacked are like "17-20 12", both ends included: packet numbers, and
// bytes of the stream.
//
// # qlog
//
// A JSON text sequence (RFC 7464) by draft-ietf-quic-qlog-main-schema-13, schema
// urn:ietf:params:qlog:file:sequential; group_id numbers the connections, times
// are in milliseconds. Events that QUIC has too are QUIC's
// (draft-ietf-quic-qlog-quic-events-12): a data packet is a "1RTT" packet, and so
// is an OPEN, INIT an "initial" one, and the stream has stream_id 0. What
// QUIC has no field for is in the object "wherry" of the event's data, under the
// names of the CSV columns; of the state only what has changed since the last
// event of the connection, which [Reader] completes again. The events of
// namespace wherry have the columns as their data. qlog.schema.json in this
// directory describes all of it.
//
// # Reading
//
// [Read] and [Reader] take both formats; one run reads the same from either.
package trace
