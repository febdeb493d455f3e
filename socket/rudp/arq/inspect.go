package arq

// SendWindow tells the edges of the sender's window in bytes of the stream, as
// [Trace.SendWindow] does.
func (c *Conn) SendWindow() (una, nxt, wnd uint64) {
	return c.send.una, c.send.nxt, c.book.edge(c)
}

// InFlight is the bytes of UDP payload that were sent and neither acknowledged
// nor given up.
func (c *Conn) InFlight() int { return c.inFlight }
