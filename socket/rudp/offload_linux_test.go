package rudp

import (
	"context"
	"crypto/rand"
	"io"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// dropTrains makes a socket lose a share of what reaches it in one piece and is
// longer than any single datagram: a path that cannot do segmentation and does
// not say so.
func dropTrains(t *testing.T, sock *datagram.Conn, share float64) {
	t.Helper()
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 2000, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtRand},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(share * (1<<32 - 1)), SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 20},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	var filter []unix.SockFilter
	for _, p := range prog {
		filter = append(filter, unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K})
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if err := unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}); err != nil {
			t.Fatal(err)
		}
	})
}

// On a path that loses trains segmentation turns itself off, and on a path that
// does not it stays on.
func TestSegmentationHeals(t *testing.T) {
	t.Run("trains are lost", func(t *testing.T) {
		c, move := segmentedPair(t, .5)
		// A process that was stopped sees losses of both kinds that there were
		// not, which only makes it take longer.
		for range 5 {
			if move(); !c.Socket().Segmenting(c.ep.sock.Peer()) {
				return
			}
		}
		t.Errorf("segmentation is still on after %+v", c.Stats())
	})
	t.Run("nothing is lost", func(t *testing.T) {
		for range 5 {
			c, move := segmentedPair(t, 0)
			if move(); c.Socket().Segmenting(c.ep.sock.Peer()) {
				return
			}
			st := c.Stats()
			t.Logf("segmentation is off after %+v", st)
			if st.PacketsLost == 0 {
				break
			}
			// The machine was so late that the sender took what it had sent for
			// lost, and that was trains.
		}
		t.Error("segmentation is off")
	})
}

// segmentedPair returns the client of a connection whose server loses a share of the
// trains, and what moves 6 MiB to there.
func segmentedPair(t *testing.T, share float64) (c *Conn, move func()) {
	small := Config{Engine: arq.Config{MaxDatagram: 1400, NoDiscovery: true}}
	l := listen(t, small)
	if l.Socket().Mode() != datagram.Segmented {
		t.Skip("SKIPPED: this kernel has no segmentation of datagrams")
	}
	dropTrains(t, l.Socket(), share)
	c, err := Dial(context.Background(), l.AddrPort(), small)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		go s.Close()
		c.Close()
	})
	b := make([]byte, 6<<20)
	rand.Read(b)
	return c, func() {
		t.Helper()
		deadline := time.Now().Add(2 * time.Minute) // a bound on a failing test
		c.SetDeadline(deadline)
		s.SetDeadline(deadline)
		go c.Write(b)
		if n, err := io.CopyN(io.Discard, s, int64(len(b))); err != nil {
			t.Fatalf("loss of trains %v: %d bytes, %v", share, n, err)
		}
	}
}
