package transfer

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type countingConn struct {
	net.Conn
	n atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.n.Add(int64(n))
	return n, err
}

func TestCompress(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "p"), t.TempDir()
	text := []byte(strings.Repeat("the same words, again and again; ", 200_000))
	write(t, src+"/text", text, 0o644, old)
	write(t, src+"/small.txt", text[:4096], 0o644, old)
	write(t, src+"/tiny", text[:100], 0o644, old)
	write(t, src+"/noise", noise(3<<20+5), 0o644, old)
	source, err := NewSource([]string{src}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	root, err := os.OpenRoot(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	a, b := pair(t)
	wire := &countingConn{Conn: a}
	done := make(chan error, 1)
	go func() {
		_, err := Receive(context.Background(), b, ReceiveOptions{Dir: root, Timeout: calmTimeout})
		done <- err
	}()
	if _, err := Send(t.Context(), wire, source, SendOptions{Compress: true, packAll: true, Timeout: calmTimeout}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	sameTree(t, describe(t, filepath.Dir(src)), describe(t, dst))
	if n := wire.n.Load(); n > 3<<20+100_000 || n < 3<<20 {
		t.Errorf("%d bytes went over the wire", n)
	}
}

// Compressing is for links that are slower than it.
func TestWorthCompressing(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		link, speed int // MiB in a second; 0: not measured
		hands       int
		worth       bool
	}{
		{0, 0, 1, true}, {0, 100, 1, true}, {1000, 0, 1, true},
		{10, 300, 1, true}, {290, 300, 1, false}, {290, 300, 2, true}, {3000, 300, 4, false},
	} {
		p, err := newPacker(c.hands)
		if err != nil {
			t.Fatal(err)
		}
		p.link.took(c.link*mib, time.Second)
		p.speed.took(c.speed*mib, time.Second)
		yes := 0
		for range trySometimes {
			if p.worth() {
				yes++
			}
		}
		if c.worth && yes != trySometimes || !c.worth && yes != 1 {
			t.Errorf("%+v: %d of %d times", c, yes, trySometimes)
		}
	}
	var p pace
	p.took(100, time.Nanosecond)
	p.took(mib, 0)
	if p.rate.Load() != 0 {
		t.Error("what tells nothing was believed")
	}
	for range 40 {
		p.took(10*mib, time.Second)
	}
	if r := p.rate.Load(); r < 9*mib || r > 11*mib {
		t.Errorf("%d bytes a second", r)
	}
}

// noise is bytes that nothing can compress.
func noise(n int) []byte {
	b, x := make([]byte, n), uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 33)
	}
	return b
}

// Whatever comes packed, no more is unpacked than was announced.
func FuzzUnpack(f *testing.F) {
	p, err := newPacker(1)
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []int{600, 5000, 1 << 20} {
		f.Add(p.enc.EncodeAll(make([]byte, n), nil), n)
		f.Add(p.enc.EncodeAll(make([]byte, n), nil), n-1)
	}
	f.Add(p.enc.EncodeAll(make([]byte, 64<<20), nil), 1<<20) // a bomb
	u, err := newUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte, n int) {
		if n < 1 || n > 1<<20 {
			return
		}
		all := bytes.Repeat([]byte{0xA5}, n+64)
		_ = u.unpack(all[:n:n], src)
		if !bytes.Equal(all[n:], bytes.Repeat([]byte{0xA5}, 64)) {
			t.Fatal("it wrote behind its end")
		}
	})
}
