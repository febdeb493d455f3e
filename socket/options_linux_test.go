package socket

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCongestion(t *testing.T) {
	if !slices.Contains(CongestionControls(), "reno") {
		t.Fatalf("the kernel has %v; reno is in every one", CongestionControls())
	}
	// reno, which is nobody's default, so that the test cannot pass by itself.
	o := Options{Congestion: "reno"}
	client, server := pair(t, o, o)
	for name, c := range map[string]*Conn{"dialed": client, "accepted": server} {
		got, err := c.Congestion()
		info, ok := c.TCPInfo()
		if err != nil || got != "reno" || !ok || info.Congestion != "reno" {
			t.Errorf("%s: %q, %v; TCPInfo %q, %v", name, got, err, info.Congestion, ok)
		}
	}
	def, _ := pair(t, Options{}, Options{})
	if got, err := def.Congestion(); err != nil || got == "reno" {
		t.Errorf("the default is %q, %v", got, err)
	}
}

func TestUnknownCongestion(t *testing.T) {
	o := Options{Congestion: "no-such-cc"}
	dial := func() error {
		d := Dialer{Options: o}
		_, err := d.Dial(t.Context(), "127.0.0.1:1")
		return err
	}
	listen := func() error {
		_, err := Listen(context.Background(), "127.0.0.1:0", o)
		return err
	}
	for name, err := range map[string]error{"dial": dial(), "listen": listen()} {
		if opt, ok := errors.AsType[*OptionError](err); !ok || opt.Value != "no-such-cc" {
			t.Errorf("%s: %v, want an *OptionError that names the algorithm", name, err)
		}
		if Kind(err) != nil {
			t.Errorf("%s: a usage error passes for %v", name, Kind(err))
		}
	}
}

func TestDSCPAndPacing(t *testing.T) {
	o := Options{DSCP: 46, PacingRate: 12_500_000}
	client, server := pair(t, o, o)
	for name, c := range map[string]*Conn{"dialed": client, "accepted": server} {
		err := c.control(func(fd uintptr) {
			tos, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS)
			if err != nil || tos>>2 != 46 {
				t.Errorf("%s: IP_TOS %#x, %v; want code point 46", name, tos, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := c.TCPInfo(); info.MaxPacingRate != o.PacingRate {
			t.Errorf("%s: pacing rate %d, want %d", name, info.MaxPacingRate, o.PacingRate)
		}
	}

	l, err := Listen(t.Context(), "[::1]:0", o)
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer l.Close()
	d := Dialer{Options: o}
	c, err := d.Dial(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.control(func(fd uintptr) {
		tc, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS)
		if err != nil || tc>>2 != 46 {
			t.Errorf("IPV6_TCLASS %#x, %v; want code point 46", tc, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNagleAndKeepAlive(t *testing.T) {
	get := func(c *Conn, level, opt int) (v int) {
		t.Helper()
		if err := c.control(func(fd uintptr) { v, _ = unix.GetsockoptInt(int(fd), level, opt) }); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		o                  Options
		noDelay, keepAlive int
	}{
		{Options{}, 1, 1},
		{Options{Nagle: true, KeepAlive: -1}, 0, 0},
	} {
		client, server := pair(t, tt.o, tt.o)
		for name, c := range map[string]*Conn{"dialed": client, "accepted": server} {
			if v := get(c, unix.IPPROTO_TCP, unix.TCP_NODELAY); v != tt.noDelay {
				t.Errorf("%s %+v: TCP_NODELAY %d, want %d", name, tt.o, v, tt.noDelay)
			}
			if v := get(c, unix.SOL_SOCKET, unix.SO_KEEPALIVE); v != tt.keepAlive {
				t.Errorf("%s %+v: SO_KEEPALIVE %d, want %d", name, tt.o, v, tt.keepAlive)
			}
		}
	}
}
