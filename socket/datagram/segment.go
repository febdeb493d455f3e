package datagram

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

const (
	// maxPeers bounds what is remembered: when so many peers cannot have
	// trains it is the host that cannot.
	maxPeers = 256
)

// segmentation knows to which peers trains may be sent.
type segmentation struct {
	off  atomic.Bool // to nobody
	some atomic.Bool // there is something in bad
	mu   sync.Mutex
	bad  map[netip.AddrPort]bool
}

func (s *segmentation) allowed(peer netip.AddrPort) bool {
	if s.off.Load() {
		return false
	}
	if !s.some.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.bad[peer]
}

func (s *segmentation) forbid(peer netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad == nil {
		s.bad = make(map[netip.AddrPort]bool)
	}
	if len(s.bad) >= maxPeers {
		s.off.Store(true)
		return
	}
	s.bad[peer] = true
	s.some.Store(true)
}

// DisableSegmentation makes trains to peer leave as single datagrams from now
// on. On a connected socket the zero AddrPort means its peer.
func (c *Conn) DisableSegmentation(peer netip.AddrPort) {
	if c.peer.IsValid() {
		peer = c.peer
	}
	c.gso.forbid(peer)
}

// Segmenting reports whether trains to peer are left to the kernel to cut.
func (c *Conn) Segmenting(peer netip.AddrPort) bool {
	if c.peer.IsValid() {
		peer = c.peer
	}
	return c.mode == Segmented && c.gso.allowed(peer)
}
