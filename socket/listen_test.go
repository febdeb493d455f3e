package socket

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
)

func TestAcceptContext(t *testing.T) {
	l := listen(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := l.Accept(ctx); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := l.Accept(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Accept with an ended context: %v", err)
	}

	// The listener outlives it.
	go func() { _, err := l.Accept(t.Context()); done <- err }()
	var d Dialer
	c, err := d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-done; err != nil {
		t.Errorf("Accept after another was cancelled: %v", err)
	}

	go func() { _, err := l.Accept(context.Background()); done <- err }()
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept on a closed listener: %v", err)
	}
}

// Many Accepts at once, all cancelled at about the same time, over and over:
// none may sleep through its cancellation, and the listener works after it.
func TestAcceptManyCancelled(t *testing.T) {
	l := listen(t, Options{})
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		ctx2, cancel2 := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				ctx := ctx
				if i%2 == 1 {
					ctx = ctx2
				}
				if _, err := l.Accept(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("Accept: %v", err)
				}
			})
		}
		go cancel()
		cancel2()
		wg.Wait()
	}
	var d Dialer
	c, err := d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := l.Accept(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	l := listen(t, Options{})
	for address, kind := range map[string]error{
		l.Addr().String(): ErrAddressInUse,
		"192.0.2.77:1":    ErrNotOurs,
	} {
		_, err := Listen(t.Context(), address, Options{})
		if _, ok := errors.AsType[*ListenError](err); !ok || !errors.Is(err, kind) || Kind(err) != kind {
			t.Errorf("Listen(%s): %v, want %v", address, err, kind)
		}
		if want := "listen on " + address + ": " + kind.Error(); err != nil && err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	}
	_, err := Listen(t.Context(), "127.0.0.1:http", Options{})
	if _, ok := errors.AsType[*AddressError](err); !ok {
		t.Errorf("want an *AddressError: %v", err)
	}
}

// A port can be bound again at once, though a connection of it lingers.
func TestListenAgain(t *testing.T) {
	// Another program may take the port in between, but not one after the other.
	var err error
	for range 5 {
		l := listen(t, Options{})
		var d Dialer
		client, err1 := d.Dial(t.Context(), l.Addr().String())
		if err1 != nil {
			t.Fatal(err1)
		}
		server, err1 := l.Accept(t.Context())
		if err1 != nil {
			t.Fatal(err1)
		}
		server.Close() // first, so that the listener's end goes to TIME-WAIT
		client.Close()
		l.Close()
		var again *Listener
		if again, err = Listen(t.Context(), l.Addr().String(), Options{}); err == nil {
			again.Close()
			return
		}
	}
	t.Fatal(err)
}

func TestNetListener(t *testing.T) {
	l := listen(t, Options{})
	go func() {
		var d Dialer
		if c, err := d.Dial(t.Context(), l.Addr().String()); err == nil {
			c.Close()
		}
	}()
	c, err := l.NetListener().Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, ok := c.(*Conn); !ok {
		t.Errorf("%T", c)
	}
}
