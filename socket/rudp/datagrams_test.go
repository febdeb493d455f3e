package rudp

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
)

func datagramConfig() Config {
	return Config{Engine: arq.Config{ARQ: arq.NoARQ, DatagramRate: 1e8}}
}

// TestDatagrams: they arrive, stamped by the clocks of both ends, beside a stream
// that goes on.
func TestDatagrams(t *testing.T) {
	c, s := pair(t, datagramConfig(), datagramConfig())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	before := time.Now()
	const count = 300 // less than any socket buffer holds
	for i := range count {
		if err := c.SendDatagram(ctx, []byte{byte(i), byte(i >> 8)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.FlushDatagrams(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("and a stream")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for i := range count {
		d, err := s.ReceiveDatagram(ctx, buf)
		if err != nil {
			t.Fatal(err)
		}
		if d.Number != uint64(i+1) || len(d.Data) != 2 || d.Data[0] != byte(i) || d.Data[1] != byte(i>>8) {
			t.Fatalf("datagram %d: %+v", i, d)
		}
		for _, at := range []time.Duration{d.Sent, d.Arrived} {
			if unix := time.Unix(0, int64(at)); unix.Before(before.Add(-time.Second)) || unix.After(time.Now().Add(time.Second)) {
				t.Fatalf("stamped %v, after %v", unix, before)
			}
		}
	}
	if n, err := s.Read(buf); err != nil || string(buf[:n]) != "and a stream" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	s.ExpectDatagrams(count + 1)
	if r := s.Datagrams(); r.Sent != count+1 || r.Lost != 1 || r.Received != count {
		t.Fatalf("%+v", r)
	}
	if err := c.SendDatagram(ctx, make([]byte, c.MaxDatagramPayload()+1)); !errors.Is(err, arq.ErrTooLarge) {
		t.Fatal(err)
	}
}

// TestDatagramWaits: whoever waits for a datagram is freed by a context, by
// Close, and by the other end's Close.
func TestDatagramWaits(t *testing.T) {
	c, s := pair(t, datagramConfig(), datagramConfig())
	buf := make([]byte, 2000)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	wait := func(c *Conn, ctx context.Context) {
		_, err := c.ReceiveDatagram(ctx, buf)
		result <- err
	}
	go wait(s, ctx)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	go wait(s, t.Context())
	c.Abort(7, "enough")
	var e *arq.CloseError
	if err := <-result; !errors.As(err, &e) || e.Code != 7 {
		t.Fatal(err)
	}
	go wait(c, t.Context())
	if err := <-result; !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	c, _ = pair(t, Config{}, Config{})
	if err := c.SendDatagram(t.Context(), buf[:1]); !errors.Is(err, arq.ErrNoDatagrams) {
		t.Fatal(err)
	}
	go wait(c, t.Context())
	if err := <-result; !errors.Is(err, arq.ErrNoDatagrams) {
		t.Fatal(err)
	}
}

// TestDisagreement: a client that runs another protocol and the listener both
// learn of it, and the listener goes on.
func TestDisagreement(t *testing.T) {
	l := listen(t, Config{Engine: arq.Config{ARQ: arq.GoBackN}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var e *arq.ARQError
	_, err := Dial(ctx, l.AddrPort(), Config{Engine: arq.Config{ARQ: arq.SelectiveRepeat}})
	if !errors.As(err, &e) || e.Ours != arq.SelectiveRepeat || e.Theirs != arq.GoBackN {
		t.Fatal(err)
	}
	_, err = l.AcceptContext(ctx)
	if !errors.As(err, &e) || e.Ours != arq.GoBackN || e.Theirs != arq.SelectiveRepeat {
		t.Fatal(err)
	}
	c, err := Dial(ctx, l.AddrPort(), Config{Engine: arq.Config{ARQ: arq.GoBackN}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.AcceptContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c.ARQ() != arq.GoBackN || s.ARQ() != arq.GoBackN {
		t.Fatal(c.ARQ(), s.ARQ())
	}
	done := make(chan struct{})
	go func() { c.Close(); close(done) }()
	s.Close()
	<-done
}
