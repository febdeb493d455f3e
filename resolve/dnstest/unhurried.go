package dnstest

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/iterate"
)

// Unhurried is the network with all the time that a busy machine may need, for tests
// of what servers say that are sure to say something.
type Unhurried struct{ iterate.Network }

// Exchange implements [iterate.Exchanger]. It asks up to five times, for up to a
// minute in all, however long ctx has.
func (n *Unhurried) Exchange(ctx context.Context, server netip.AddrPort, query *dns.Msg, tr iterate.Transport) (m *dns.Msg, took time.Duration, err error) {
	for wait := 2 * time.Second; wait < time.Minute; wait *= 2 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		m, took, err = n.Network.Exchange(ctx, server, query, tr)
		cancel()
		if err == nil {
			break
		}
	}
	return m, took, err
}
