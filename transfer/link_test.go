package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// A write of a whole group may take as long as it likes while portions of it get
// through, and no longer when they do not.
func TestSlowWrite(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate int // bytes in a second
		ok   bool
	}{
		{"a portion in each deadline", writePortion/int(4*DefaultTimeout/time.Second) + 1000, true},
		{"less", 1000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				defer theirs.Close()
				l := newLink(ours, 0)
				l.portion = bufferSize // as over the kernel's TCP
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					for {
						if _, err := io.CopyN(io.Discard, theirs, int64(tt.rate)); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				err := l.write(make([]byte, 1<<20))
				if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrPeerSilent) {
					t.Error(err)
				}
				ours.Close()
				<-gone
			})
		})
	}
}

// Content over the kernel's TCP goes out a group at a time; what encrypts it can
// not continue a write that timed out.
func TestPortions(t *testing.T) {
	ln, err := socket.Listen(t.Context(), "127.0.0.1:0", socket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(context.Background()); err == nil {
			defer c.Close()
			_, _ = io.Copy(io.Discard, c)
		}
	}()
	var d socket.Dialer
	c, err := d.Dial(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for name, tt := range map[string]struct {
		conn net.Conn
		want int
	}{
		"TCP":                {c, bufferSize},
		"TCP that was heard": {&knocker{Conn: c}, bufferSize},
		"another":            {&net.TCPConn{}, writePortion},
		"something over TCP": {over{c}, writePortion},
	} {
		if got := newLink(tt.conn, 0).portion; got != tt.want {
			t.Errorf("%s: %d bytes, want %d", name, got, tt.want)
		}
	}
}

// over is as pairing.Conn is: not what the kernel has, but above it.
type over struct{ net.Conn }

func (o over) NetConn() net.Conn { return o.Conn }
