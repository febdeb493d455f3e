//go:build !linux

package datagram

type system struct{}

func (c *Conn) setup(o Options) error {
	c.mode = Plain
	// Systems cap buffers differently; what they grant is good enough.
	for n := o.RecvBuffer; n >= 64<<10 && c.udp.SetReadBuffer(n) != nil; n /= 2 {
	}
	for n := o.SendBuffer; n >= 64<<10 && c.udp.SetWriteBuffer(n) != nil; n /= 2 {
	}
	return c.forbidFragments()
}

// Buffers returns the sizes of the kernel's buffers, which only Linux tells.
func (c *Conn) Buffers() (recv, send int) { return 0, 0 }

func (c *Conn) readBatch(ms []Message) (int, error)  { return c.readPlain(ms) }
func (c *Conn) writeBatch(ms []Message) (int, error) { return c.writePlain(ms) }
