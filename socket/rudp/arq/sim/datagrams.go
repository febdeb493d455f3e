package sim

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// datagrams moves a flow that is sent as datagrams, each once. Datagram n holds
// the bytes of the pattern that stand at n-1 times the size of a full one.
func (r *runner) datagrams(f *flow, which int, c *arq.Conn) error {
	if which == 0 {
		for c.Established() && (f.Bytes == 0 || f.written < f.Bytes) {
			n := c.MaxDatagramPayload()
			if f.Bytes > 0 {
				n = int(min(int64(n), f.Bytes-f.written))
			}
			if ok, err := c.SendDatagram(patternAt(f.written, n)); err != nil || !ok {
				break
			}
			f.written += int64(n)
			f.packets++
		}
		if c.Established() && f.Bytes > 0 && f.written == f.Bytes && c.DatagramsQueued() == 0 {
			c.CloseWrite()
		}
		if _, err := c.Peek(); err == io.EOF && c.State() == arq.StateEstablished {
			c.Close()
		}
		return nil
	}
	for {
		d, ok := c.ReceiveDatagram(r.in)
		if !ok {
			break
		}
		off := int64(d.Number-1) * int64(c.MaxDatagramPayload())
		if !bytes.Equal(d.Data, patternAt(off, len(d.Data))) {
			return fmt.Errorf("datagram %d does not hold what was sent", d.Number)
		}
		f.read += int64(len(d.Data))
		f.lastRead = r.now
	}
	if _, err := c.Peek(); err == io.EOF && c.State() == arq.StateEstablished {
		// What left before the end of the stream may arrive after it.
		if f.closeAt == 0 {
			l := &r.cfg.Forward
			f.closeAt = r.now + l.Delay + 6*l.Jitter + 100*time.Millisecond
		}
		if r.now >= f.closeAt {
			c.ExpectDatagrams(f.packets)
			c.CloseWrite()
			c.Close()
		}
	}
	return nil
}
