package trace

import (
	"net/netip"
	"strings"
	"time"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// Link tells what an impaired link decided, at a time, on a datagram to a peer.
// The payload tells the packet's number; without it, it is not known.
func (l *Log) Link(at time.Duration, peer netip.AddrPort, payload []byte, d *netem.Decision) {
	e := Event{Time: at, Kind: LinkPacket, Type: d.Fate.String(), Size: int64(d.Size), Queue: int64(d.Queued), Has: HasSize | HasQueue}
	if n, ok := l.peers.Load(peer); ok {
		e.Conn = n.(int)
	}
	if n, ok := arq.PacketNumber(payload); ok {
		e.Packet, e.Has = int64(n), e.Has|HasPacket
	}
	if d.Departs > d.At {
		e.QueueDelay, e.Has = d.Departs-d.At, e.Has|HasQueueDelay
	}
	if d.Reordered || d.Duplicated || d.Corrupted {
		e.Reason = Changes(d)
	}
	l.Add(&e)
}

// Changes is what a link does to a packet beside delivering it, in words.
func Changes(d *netem.Decision) string {
	var words []string
	for _, x := range [...]struct {
		on   bool
		word string
	}{{d.Reordered, "reordered"}, {d.Duplicated, "duplicated"}, {d.Corrupted, "corrupted"}} {
		if x.on {
			words = append(words, x.word)
		}
	}
	return strings.Join(words, " ")
}
