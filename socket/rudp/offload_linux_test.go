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
	small := Config{Engine: arq.Config{MaxDatagram: 1400, NoDiscovery: true}}
	for _, tc := range []struct {
		share float64
		on    bool
	}{{.5, false}, {0, true}} {
		l := listen(t, small)
		if l.Socket().Mode() != datagram.Segmented {
			t.Skip("this kernel has no segmentation")
		}
		dropTrains(t, l.Socket(), tc.share)
		c, err := Dial(context.Background(), l.AddrPort(), small)
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 6<<20)
			rand.Read(b)
			c.Write(b)
			c.CloseWrite()
		}()
		s.SetDeadline(time.Now().Add(20 * time.Second))
		n, err := io.Copy(io.Discard, s)
		if err != nil || n != 6<<20 {
			t.Errorf("loss of trains %v: %d bytes, %v", tc.share, n, err)
		}
		if on := c.Socket().Segmenting(l.AddrPort()); on != tc.on {
			t.Errorf("loss of trains %v: segmentation on is %v after %+v", tc.share, on, c.Stats())
		}
		go s.Close()
		c.Close()
	}
}
