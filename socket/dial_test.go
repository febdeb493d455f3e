package socket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// listen binds a loopback port for the length of the test.
func listen(t testing.TB, o Options) *Listener {
	t.Helper()
	l, err := Listen(t.Context(), "127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// pair returns both ends of a connection.
func pair(t testing.TB, dial, accept Options) (client, server *Conn) {
	t.Helper()
	l := listen(t, accept)
	d := Dialer{Options: dial, Timeout: time.Minute}
	client, err := d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err = l.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func addrs(ss ...string) func(context.Context, string, string) ([]netip.Addr, error) {
	return func(context.Context, string, string) (out []netip.Addr, err error) {
		for _, s := range ss {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}
}

func TestDialKinds(t *testing.T) {
	dead := sockettest.DeadTCP(t).String()
	_, deadNumber, _ := net.SplitHostPort(dead)
	notFound := &net.DNSError{Err: "no such host", Name: "nosuch.example", IsNotFound: true}
	failing := func(err error) func(context.Context, string, string) ([]netip.Addr, error) {
		return func(context.Context, string, string) ([]netip.Addr, error) { return nil, err }
	}
	for _, tt := range []struct {
		name    string
		d       Dialer
		address string
		kind    error
		says    string
	}{
		{"refused", Dialer{}, dead, ErrRefused, "connect to " + dead + ": connection refused"},
		{"refused by name", Dialer{Lookup: addrs("127.0.0.1")}, "box:" + deadNumber, ErrRefused, "connect to box:" + deadNumber + ": connection refused (127.0.0.1: connection refused)"},
		{"refused twice", Dialer{Lookup: addrs("127.0.0.1", "127.0.0.2")}, "box:" + deadNumber, ErrRefused, "(127.0.0.1: connection refused; 127.0.0.2: connection refused)"},
		{"unknown host", Dialer{Lookup: failing(notFound)}, "nosuch.example:1", ErrUnknownHost, "connect to nosuch.example:1: unknown host"},
		{"name without addresses", Dialer{Lookup: addrs()}, "empty.example:1", ErrUnknownHost, "unknown host"},
		{"name server fails", Dialer{Lookup: failing(&net.DNSError{Err: "server misbehaving", IsTemporary: true})}, "x.example:1", ErrNameServer, "name server"},
		{"name server silent", Dialer{Lookup: failing(&net.DNSError{Err: "i/o timeout", IsTimeout: true})}, "x.example:1", ErrTimeout, "timed out"},
		{"wrong family", Dialer{Options: Options{Family: IPv6}}, "127.0.0.1:1", ErrUnknownHost, "unknown host"},
		{"source is not ours", Dialer{Options: Options{Source: netip.MustParseAddr("192.0.2.77")}}, dead, ErrNotOurs, "no such address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := tt.d.Dial(t.Context(), tt.address)
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			de, ok := errors.AsType[*DialError](err)
			if !ok {
				t.Fatalf("%T is no *DialError: %v", err, err)
			}
			if !errors.Is(err, tt.kind) || de.Kind != tt.kind || Kind(err) != tt.kind {
				t.Errorf("%v is of kind %v, want %v", err, de.Kind, tt.kind)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not say %q", err, tt.says)
			}
			for _, other := range []error{ErrUnknownHost, ErrNameServer, ErrRefused, ErrTimeout, ErrUnreachable, ErrLost} {
				if other != tt.kind && errors.Is(err, other) {
					t.Errorf("%v is also %v", err, other)
				}
			}
			var ne net.Error
			if !errors.As(err, &ne) || ne.Timeout() != (tt.kind == ErrTimeout) {
				t.Errorf("as net.Error: %v", ne)
			}
		})
	}
}

func TestDialUsageErrors(t *testing.T) {
	for _, address := range []string{"", "host", ":80", "host:0", "a b:1"} {
		var d Dialer
		_, err := d.Dial(t.Context(), address)
		if _, ok := errors.AsType[*AddressError](err); !ok {
			t.Errorf("Dial(%q): %v, want an *AddressError", address, err)
		}
	}
	d := Dialer{Options: Options{Family: IPv4}}
	for _, network := range []string{"tcp6", "unix", "tcp44", ""} {
		_, err := d.DialContext(t.Context(), network, "127.0.0.1:1")
		if _, ok := errors.AsType[*OptionError](err); !ok {
			t.Errorf("DialContext(%q): %v, want an *OptionError", network, err)
		}
	}
}

func TestDialFallsThrough(t *testing.T) {
	l := listen(t, Options{})
	_, number, _ := net.SplitHostPort(l.Addr().String())
	var done []Attempt
	// 127.0.0.2 is loopback also, but l listens on 127.0.0.1 alone. The second is
	// tried because the first has failed, and not because it was slow.
	d := Dialer{Lookup: addrs("127.0.0.2", "127.0.0.1"), Timeout: time.Minute, AttemptDelay: time.Hour, Trace: &DialTrace{
		AttemptDone: func(a Attempt) { done = append(done, a) },
	}}
	c, err := d.Dial(t.Context(), "box:"+number)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(done) != 2 || Kind(done[0].Err) != ErrRefused || done[1].Err != nil {
		t.Errorf("attempts: %+v", done)
	}
}

func TestDialTimesOutInLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		d := Dialer{Lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, &net.DNSError{Err: "i/o timeout", IsTimeout: true}
		}}
		_, err := d.Dial(t.Context(), "slow.example:1")
		if !errors.Is(err, ErrTimeout) || time.Since(begin) != DefaultDialTimeout {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// A caller that gives up gets its own error back, not a network failure.
func TestDialCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := Dialer{Lookup: func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		cancel()
		<-ctx.Done()
		return nil, &net.DNSError{Err: "operation was canceled", IsTimeout: true}
	}}
	_, err := d.Dial(ctx, "slow.example:1")
	if !errors.Is(err, context.Canceled) || Kind(err) != nil {
		t.Errorf("kind %v: %v", Kind(err), err)
	}
}

func TestDialUDP(t *testing.T) {
	pc, err := ListenUDP(t.Context(), "127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	d := Dialer{Options: Options{Source: netip.MustParseAddr("127.0.0.9"), ReceiveBuffer: 1 << 16}}
	c, err := d.DialContext(t.Context(), "udp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	_, from, err := pc.ReadFromUDPAddrPort(make([]byte, 1))
	if err != nil || from.Addr() != netip.MustParseAddr("127.0.0.9") {
		t.Errorf("from %v, %v", from, err)
	}
}
