package socket

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestOptionsCheck(t *testing.T) {
	v4, v6 := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::1")
	for _, tt := range []struct {
		o      Options
		option string // "" for none
	}{
		{Options{}, ""},
		{Options{Family: IPv4, Source: v4, SendBuffer: 1, ReceiveBuffer: 1, KeepAlive: -1, Nagle: true}, ""},
		{Options{Source: v6}, ""},
		{Options{Family: 5}, "address family"},
		{Options{Family: IPv4, Source: v6}, "source address"},
		{Options{Family: IPv6, Source: v4}, "source address"},
		{Options{SendBuffer: -1}, "send buffer"},
		{Options{ReceiveBuffer: -1}, "receive buffer"},
		{Options{PacingRate: -1}, "pacing rate"},
		{Options{DSCP: 64}, "DSCP"},
		{Options{Congestion: "much-too-long-a-name"}, "congestion control"},
		{Options{Congestion: "cu bic"}, "congestion control"},
		{Options{Congestion: "cu\x00bic"}, "congestion control"},
	} {
		err := tt.o.Check()
		opt, ok := errors.AsType[*OptionError](err)
		switch {
		case tt.option == "":
			if err != nil {
				t.Errorf("%+v: %v", tt.o, err)
			}
		case !ok || opt.Option != tt.option || !errors.Is(err, ErrInvalid):
			t.Errorf("%+v: %v, want an *OptionError about the %s", tt.o, err, tt.option)
		}
		if strings.Contains(tt.option, "\x00") {
			t.Errorf("raw control character in %q", err)
		}
		// A bad option stops both ends before they do anything.
		if tt.option != "" {
			d := Dialer{Options: tt.o}
			if _, err := d.Dial(t.Context(), "127.0.0.1:1"); !errors.Is(err, ErrInvalid) {
				t.Errorf("Dial with %+v: %v", tt.o, err)
			}
			if _, err := Listen(t.Context(), "127.0.0.1:0", tt.o); !errors.Is(err, ErrInvalid) {
				t.Errorf("Listen with %+v: %v", tt.o, err)
			}
		}
	}
}

func TestBuffers(t *testing.T) {
	o := Options{SendBuffer: 48 << 10, ReceiveBuffer: 40 << 10}
	client, server := pair(t, o, o)
	for name, c := range map[string]*Conn{"dialed": client, "accepted": server} {
		send, receive, err := c.Buffers()
		if err != nil {
			t.Skip(err)
		}
		if send < o.SendBuffer || send > 3*o.SendBuffer || receive < o.ReceiveBuffer || receive > 3*o.ReceiveBuffer {
			t.Errorf("%s: buffers %d, %d; asked for %d, %d", name, send, receive, o.SendBuffer, o.ReceiveBuffer)
		}
	}
}

func TestParseDSCP(t *testing.T) {
	for in, want := range map[string]uint8{"0": 0, "46": 46, "63": 63, "ef": 46, "EF": 46, "af41": 34, "CS1": 8, "le": 1} {
		if got, err := ParseDSCP(in); err != nil || got != want {
			t.Errorf("ParseDSCP(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "64", "-1", "af44", "300", "1\x1b"} {
		if got, err := ParseDSCP(in); !errors.Is(err, ErrInvalid) {
			t.Errorf("ParseDSCP(%q) = %d, %v; want an error", in, got, err)
		}
	}
}
