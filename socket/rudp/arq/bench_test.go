package arq_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// pair is two engines back to back with a handshake behind them.
func pair(tb testing.TB, client, server arq.Config) (c, s *arq.Conn) {
	tb.Helper()
	ca, sa := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
	client.Seed[0], server.Seed[0] = 1, 2
	acceptor := arq.NewAcceptor([32]byte{3}, server)
	c = arq.Dial(0, client, sa)
	buf := make([]byte, arq.MaxDatagram)
	reply := make([]byte, 128)
	for now := time.Duration(0); now < time.Second && s == nil; now += time.Millisecond {
		t := c.PollTransmit(now, buf)
		if t.N == 0 {
			continue
		}
		v := acceptor.Examine(now, ca, buf[:t.N], reply)
		if v.ID != 0 {
			s = acceptor.Accept(now, server, v)
			s.HandleDatagram(now, buf[:t.N], ca, arq.NotECT)
			t = s.PollTransmit(now, buf)
			c.HandleDatagram(now, buf[:t.N], sa, arq.NotECT)
		} else {
			c.HandleDatagram(now, reply[:v.Reply], sa, arq.NotECT)
		}
	}
	if !c.Established() || !s.Established() {
		tb.Fatal("no handshake")
	}
	return c, s
}

// BenchmarkBulk moves bytes between two engines in memory, in batches as
// segmentation offload has them: what the protocol itself costs, both ends
// and four copies together.
func BenchmarkBulk(b *testing.B) {
	for _, c := range []struct {
		name string
		mtu  int
	}{{"1500", 1472}, {"9000", 8972}} {
		b.Run(c.name, func(b *testing.B) {
			cfg := arq.Config{MaxDatagram: c.mtu}
			client, server := pair(b, cfg, cfg)
			ca, sa := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
			const chunk = 1 << 20
			data, sink := make([]byte, chunk), make([]byte, chunk)
			buf := make([]byte, 64<<10)
			now := time.Second
			b.SetBytes(chunk)
			b.ReportAllocs()
			start := client.Stats().PacketsSent
			got := 0
			for b.Loop() {
				for left := data; len(left) > 0 || client.Unacked() > 0; {
					n, err := client.Write(left)
					if err != nil {
						b.Fatal(err)
					}
					left = left[n:]
					now += 20 * time.Microsecond
					client.HandleTimeout(now)
					for {
						t := client.PollTransmit(now, buf)
						if t.N == 0 {
							break
						}
						for off := 0; off < t.N; off += t.SegmentSize {
							server.HandleDatagram(now, buf[off:min(off+t.SegmentSize, t.N)], ca, t.ECN)
						}
						for {
							n, err := server.Read(sink)
							if err != nil {
								b.Fatal(err)
							}
							if n == 0 {
								break
							}
							got += n
						}
					}
					now += 20 * time.Microsecond
					server.HandleTimeout(now)
					for {
						t := server.PollTransmit(now, buf)
						if t.N == 0 {
							break
						}
						client.HandleDatagram(now, buf[:t.N], sa, t.ECN)
					}
				}
			}
			b.StopTimer()
			packets := client.Stats().PacketsSent - start
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
			if got < b.N*chunk {
				b.Fatalf("%d bytes of %d arrived", got, b.N*chunk)
			}
		})
	}
}
