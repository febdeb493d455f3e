package box

import (
	"encoding/hex"
	"strings"
	"testing"
)

// packet reads a packet from hexadecimal digits and pads it to n bytes.
func packet(t testing.TB, digits string, n int) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	for len(b) < n {
		b = append(b, 0)
	}
	return b
}

const (
	anIPv4 = "45 00 0054 0000 4000 40 %% 0000 0a4d0001 0a4d0002"
	anIPv6 = "6 0000000 0010 %% 40 fd77000000000000 0000000000000001 fd77000000000000 0000000000000002"
)

func TestChatter(t *testing.T) {
	of := func(form, next, body string) []byte { return packet(t, strings.Replace(form, "%%", next, 1)+body, 64) }
	for _, c := range []struct {
		name string
		pkt  []byte
		want bool
	}{
		{"nothing", nil, true},
		{"too short", make([]byte, 19), true},
		{"neither 4 nor 6", packet(t, "55", 60), true},
		{"ping", of(anIPv4, "01", ""), false},
		{"TCP", of(anIPv4, "06", ""), false},
		{"UDP", of(anIPv4, "11", ""), false},
		{"IGMP", of(anIPv4, "02", ""), true},
		{"ping6 request", of(anIPv6, "3a", "80"), false},
		{"ping6 answer", of(anIPv6, "3a", "81"), false},
		{"packet too big", of(anIPv6, "3a", "02"), false},
		{"router solicitation", of(anIPv6, "3a", "85"), true},
		{"neighbour solicitation", of(anIPv6, "3a", "87"), true},
		{"MLDv2 behind router alert", of(anIPv6, "00", "3a00 05020000 0100 8f"), true},
		{"ping6 behind router alert", of(anIPv6, "00", "3a00 05020000 0100 80"), false},
		{"options that are cut off", of(anIPv6, "00", "3aff"), false},
		{"TCP over IPv6", of(anIPv6, "06", "87"), false},
		{"IPv6 without a body", of(anIPv6, "3a", "")[:40], false},
	} {
		if got := chatter(c.pkt); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Whatever a command sends, looking at it is safe, and TCP and UDP over IPv4
// always go on the link.
func FuzzChatter(f *testing.F) {
	f.Add(packet(f, strings.Replace(anIPv4, "%%", "06", 1), 40))
	f.Add(packet(f, strings.Replace(anIPv6, "%%", "00", 1)+"3a00050200000100 8f", 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		if chatter(b) && len(b) >= 20 && b[0]>>4 == 4 && (b[9] == 6 || b[9] == 17) {
			t.Errorf("% x is kept off the link", b)
		}
	})
}

func TestTxDrops(t *testing.T) {
	const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       1       2    3    4    5     6          7         8        9      10   11   12   13    14      15         16
  eth0:99999999       2    0    4    0     0          0         0 1234567      10    0  777    0     0       0          0
`
	for name, want := range map[string]uint64{"eth0": 777, "lo": 12, "eth": 0, "eth1": 0} {
		if got := txDrops([]byte(text), name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
