package datagram

import (
	"net"
	"strconv"
	"sync"
)

// scopes remembers the indexes of interfaces that were asked for by name. They
// are few: the names come from addresses that a user typed.
var scopes sync.Map // string -> uint32

// scope is the index of the interface that a zone names, or 0.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if v, ok := scopes.Load(zone); ok {
		return v.(uint32)
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	scopes.Store(zone, uint32(ifi.Index))
	return uint32(ifi.Index)
}
