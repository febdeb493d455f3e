package arq_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// TestNoAllocations: once a connection has what it needs, moving bytes takes no
// memory for packets, acknowledgements, or losses.
func TestNoAllocations(t *testing.T) {
	for name, every := range map[string]int{"clean": 0, "every fiftieth lost": 50} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t, arq.Config{}, arq.Config{})
			ca, sa := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:2")
			const chunk = 1 << 20
			data, sink, buf := make([]byte, chunk), make([]byte, chunk), make([]byte, 64<<10)
			now := time.Second
			packets := 0
			move := func() {
				for left, got := data, 0; got < chunk; {
					n, err := client.Write(left)
					if err != nil {
						t.Fatal(err)
					}
					left = left[n:]
					now += 100 * time.Microsecond
					client.HandleTimeout(now)
					for {
						x := client.PollTransmit(now, buf)
						if x.N == 0 {
							break
						}
						for off := 0; off < x.N; off += x.SegmentSize {
							if packets++; every > 0 && packets%every == 0 {
								continue
							}
							server.HandleDatagram(now, buf[off:min(off+x.SegmentSize, x.N)], ca, x.ECN)
						}
					}
					for {
						n, err := server.Read(sink)
						if err != nil {
							t.Fatal(err)
						}
						if got += n; n == 0 {
							break
						}
					}
					now += 100 * time.Microsecond
					server.HandleTimeout(now)
					for {
						x := server.PollTransmit(now, buf)
						if x.N == 0 {
							break
						}
						client.HandleDatagram(now, buf[:x.N], sa, x.ECN)
					}
				}
			}
			for range 50 {
				move()
			}
			packets = 0
			allocs := testing.AllocsPerRun(50, move)
			t.Logf("%.0f allocations for %d packets", allocs, packets/51)
			if allocs > 2 {
				t.Errorf("%.0f allocations a MiB, %d packets", allocs, packets/51)
			}
		})
	}
}
