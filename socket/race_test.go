package socket

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fakeConn is what a simulated attempt returns.
type fakeConn struct {
	addr   netip.AddrPort
	closed *[]netip.AddrPort
}

func (c fakeConn) Close() error {
	*c.closed = append(*c.closed, c.addr)
	return nil
}

func TestRace(t *testing.T) {
	const never = time.Hour
	type behaviour struct {
		after time.Duration
		err   error
	}
	ok := func(after time.Duration) behaviour { return behaviour{after, nil} }
	fails := func(after time.Duration, err error) behaviour { return behaviour{after, err} }
	const ms = time.Millisecond

	for _, tt := range []struct {
		name   string
		addrs  []behaviour
		winner int // -1: none
		at     time.Duration
		starts []time.Duration
	}{
		{"one", []behaviour{ok(30 * ms)}, 0, 30 * ms, []time.Duration{0}},
		{"the second is not tried if the first is quick", []behaviour{ok(249 * ms), ok(0)}, 0, 249 * ms, []time.Duration{0}},
		// RFC 8305 section 5: "A new connection attempt is started after the
		// Connection Attempt Delay".
		{"black hole first", []behaviour{ok(never), ok(20 * ms)}, 1, 270 * ms, []time.Duration{0, 250 * ms}},
		{"two black holes", []behaviour{ok(never), ok(never), ok(20 * ms)}, 2, 520 * ms, []time.Duration{0, 250 * ms, 500 * ms}},
		// "...or if an attempt fails, the next one starts at once".
		{"refused first", []behaviour{fails(5*ms, syscall.ECONNREFUSED), ok(20 * ms)}, 1, 25 * ms, []time.Duration{0, 5 * ms}},
		{"the delay counts from the last start", []behaviour{ok(never), fails(5*ms, syscall.ECONNREFUSED), ok(never), ok(1 * ms)}, 3, 506 * ms,
			[]time.Duration{0, 250 * ms, 255 * ms, 505 * ms}},
		{"a slow first still wins", []behaviour{ok(300 * ms), ok(100 * ms)}, 0, 300 * ms, []time.Duration{0, 250 * ms}},
		{"all refused", []behaviour{fails(5*ms, syscall.ECONNREFUSED), fails(7*ms, syscall.ENETUNREACH)}, -1, 12 * ms, []time.Duration{0, 5 * ms}},
		{"nobody answers", []behaviour{ok(never), ok(never)}, -1, 10 * time.Second, []time.Duration{0, 250 * ms}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				addrs := make([]netip.AddrPort, len(tt.addrs))
				for i := range addrs {
					addrs[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i)}), 1)
				}
				var closed []netip.AddrPort
				var starts []time.Duration
				trace := &DialTrace{AttemptStart: func(netip.AddrPort) { starts = append(starts, time.Since(begin)) }}
				c, attempts, err := race(ctx, addrs, attemptDelay, trace, func(ctx context.Context, a netip.AddrPort) (fakeConn, error) {
					b := tt.addrs[slices.Index(addrs, a)]
					select {
					case <-time.After(b.after):
						return fakeConn{a, &closed}, b.err
					case <-ctx.Done():
						return fakeConn{}, ctx.Err()
					}
				})
				if got := time.Since(begin); got != tt.at {
					t.Errorf("ended after %v, want %v", got, tt.at)
				}
				if !reflect.DeepEqual(starts, tt.starts) {
					t.Errorf("attempts started at %v, want %v", starts, tt.starts)
				}
				if tt.winner < 0 {
					if err == nil {
						t.Fatalf("won by %v", c.addr)
					}
					if len(attempts) != len(tt.addrs) {
						t.Errorf("%d attempts told, want all %d", len(attempts), len(tt.addrs))
					}
					for _, a := range attempts {
						if a.Err == nil {
							t.Errorf("attempt at %v has no error", a.Addr)
						}
					}
				} else if err != nil || c.addr != addrs[tt.winner] {
					t.Errorf("winner %v, %v; want %v", c.addr, err, addrs[tt.winner])
				}
				synctest.Wait() // a goroutine that stays would fail the test
				if slices.Contains(closed, c.addr) {
					t.Error("the winner was closed")
				}
			})
		})
	}
}

// A loser that connects after the race is closed, not leaked.
func TestRaceClosesLosers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed []netip.AddrPort
		a := netip.MustParseAddrPort("127.0.0.1:1")
		b := netip.MustParseAddrPort("127.0.0.2:1")
		c, _, err := race(t.Context(), []netip.AddrPort{a, b}, attemptDelay, nil, func(_ context.Context, addr netip.AddrPort) (fakeConn, error) {
			if addr == a {
				time.Sleep(time.Second) // simulated; deaf to its context
			}
			return fakeConn{addr, &closed}, nil
		})
		if err != nil || c.addr != b {
			t.Fatal(c.addr, err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !reflect.DeepEqual(closed, []netip.AddrPort{a}) {
			t.Errorf("closed %v, want the loser %v", closed, a)
		}
	})
}

func TestRaceStopsAtOptionError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		_, _, err := race(t.Context(), make([]netip.AddrPort, 3), attemptDelay, nil, func(context.Context, netip.AddrPort) (fakeConn, error) {
			n++
			return fakeConn{}, fmt.Errorf("wrapped: %w", &OptionError{"congestion control", "x", errors.New("no")})
		})
		if _, ok := errors.AsType[*OptionError](err); !ok || n != 1 {
			t.Errorf("%d attempts, error %v; want 1 and an *OptionError", n, err)
		}
	})
}

func TestInterleave(t *testing.T) {
	ips := func(ss ...string) (out []netip.Addr) {
		for _, s := range ss {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	for _, tt := range []struct {
		name     string
		family   Family
		in, want []netip.Addr
	}{
		{"v6 first", AnyFamily, ips("::1", "::2", "::3", "1.1.1.1", "2.2.2.2"), ips("::1", "1.1.1.1", "::2", "2.2.2.2", "::3")},
		{"v4 first", AnyFamily, ips("1.1.1.1", "2.2.2.2", "::1"), ips("1.1.1.1", "::1", "2.2.2.2")},
		{"only v4", IPv4, ips("::1", "1.1.1.1"), ips("1.1.1.1")},
		{"only v6", IPv6, ips("::1", "1.1.1.1", "::ffff:2.2.2.2"), ips("::1")},
		{"duplicates, mapped ones too", AnyFamily, ips("1.1.1.1", "::ffff:1.1.1.1", "::1", "::1"), ips("1.1.1.1", "::1")},
		{"none", IPv6, ips("1.1.1.1"), nil},
	} {
		if got := interleave(tt.in, tt.family); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	var many []netip.Addr
	for i := range 1000 {
		many = append(many, netip.AddrFrom4([4]byte{127, 0, byte(i >> 8), byte(i)}))
	}
	if got := interleave(many, AnyFamily); len(got) != maxAttempts {
		t.Errorf("%d of 1000 addresses are tried, want %d", len(got), maxAttempts)
	}
}
