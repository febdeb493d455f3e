//go:build !linux

package datagram

const canGather = false

func (c *Conn) writeParts(*Message, [][]byte) (bool, error) { return false, nil }
