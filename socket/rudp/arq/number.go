package arq

import "encoding/binary"

// PacketNumber returns the number of the packet in a datagram that
// [Conn.PollTransmit] wrote, by which [Trace.PacketAcked] and
// [Trace.PacketLost] name it later. Handshake datagrams have none. The
// datagrams of one train are numbered in a row.
func PacketNumber(b []byte) (number uint64, ok bool) {
	if len(b) < headerLen || b[0] != magic || packetType(b[2]) != typeData && packetType(b[2]) != typeOpen {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[16:]), true
}
