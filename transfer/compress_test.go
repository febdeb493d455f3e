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
	go func() { _, err := Receive(context.Background(), b, ReceiveOptions{Dir: root}); done <- err }()
	if _, err := Send(t.Context(), wire, source, SendOptions{Compress: true}); err != nil {
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
	p, err := newPacker()
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
