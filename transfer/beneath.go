package transfer

import (
	"net"

	"github.com/wherry-net/wherry/socket"
)

// beneath is the kernel's connection that conn's bytes go over, or nil; bare if
// they go there as they are, so that a Write is one of the kernel's.
func beneath(conn net.Conn) (c *socket.Conn, bare bool) {
	for bare = true; conn != nil; {
		switch c := conn.(type) {
		case *socket.Conn:
			return c, bare
		case *knocker:
			conn = c.Conn
		case interface{ NetConn() net.Conn }:
			conn, bare = c.NetConn(), false
		default:
			return nil, false
		}
	}
	return nil, false
}

// A corker is a connection that can be told that more will be written at once, as
// those of package rudp can.
type corker interface {
	Cork()
	Uncork()
}

// corkerBeneath is the corker that conn's bytes go over, or nil.
func corkerBeneath(conn net.Conn) corker {
	for conn != nil {
		switch c := conn.(type) {
		case corker:
			return c
		case *knocker:
			conn = c.Conn
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}
