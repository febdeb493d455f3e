//go:build !linux

package socket

// LimitLocalQueue bounds the send buffer of a connection whose other end is on
// this machine, and reports whether it did. Only Linux can tell whether a buffer
// was chosen ([Options].SendBuffer), so elsewhere it does nothing.
func (c *Conn) LimitLocalQueue() bool { return false }
