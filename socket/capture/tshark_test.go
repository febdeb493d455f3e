package capture_test

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/capture"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/rudp/arq"
)

// tshark runs it and returns what it prints. Without the program the test is
// skipped, but not where CI runs.
func tshark(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark is not installed")
		}
		t.Skip("SKIPPED: tshark is not installed, and nothing else shows that captures can be read")
	}
	// By default a port that somebody has registered says what a datagram is, and the
	// kernel may have picked one of thirty such.
	cmd := exec.Command(path, append([]string{"-n", "-o", "udp.try_heuristic_first:TRUE"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8") // nobody's preferences
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark %v: %v: %s", args, err, errs.String())
	}
	for line := range strings.Lines(errs.String()) {
		if !strings.Contains(line, "This could be dangerous") && strings.TrimSpace(line) != "" {
			t.Errorf("tshark complains: %s", line)
		}
	}
	return out.String()
}

func dissector(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "wherry.lua")
	if err := os.WriteFile(name, []byte(arq.Dissector), 0o600); err != nil {
		t.Fatal(err)
	}
	return "lua_script:" + name
}

// collected are packets, and the file they were written to.
type collected struct {
	mu      sync.Mutex
	packets []capture.Packet
	file    *os.File
	w       *capture.Writer
	closed  bool // what a socket tells late is not in the file
}

func collect(t *testing.T, o capture.Options) *collected {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "x.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := capture.New(f, o)
	if err != nil {
		t.Fatal(err)
	}
	return &collected{file: f, w: w}
}

func (c *collected) add(p capture.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	p.Payload = bytes.Clone(p.Payload)
	c.packets = append(c.packets, p)
	c.w.Packet(p)
}

func (c *collected) close(t *testing.T) string {
	t.Helper()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if err := c.w.Close(); err != nil {
		t.Fatal(err)
	}
	c.file.Close()
	return c.file.Name()
}

// transfer moves n bytes over reliable UDP on loopback and captures one end.
func transfer(t *testing.T, c *collected, cfg rudp.Config, n int) {
	t.Helper()
	ctx := t.Context()
	l, err := rudp.Listen(ctx, "udp4", "127.0.0.1:0", rudp.Config{Engine: arq.Config{ARQ: cfg.Engine.ARQ}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg.Trace = &rudp.Trace{Datagram: func(d rudp.Datagram) {
		p := capture.Packet{At: d.At, Sent: d.Sent, Local: d.Local, Remote: d.Remote, ECN: uint8(d.ECN), Payload: d.Payload}
		if d.Fate != nil && d.Fate.Fate != netem.Delivered {
			p.Comment = "dropped: " + d.Fate.Fate.String()
		}
		c.add(p)
	}}
	got := make(chan int64, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		k, _ := io.Copy(io.Discard, conn)
		_, _ = conn.Write([]byte("that was all"))
		conn.Close()
		got <- k
	}()
	conn, err := rudp.Dial(ctx, l.AddrPort(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if k := <-got; k != int64(n) {
		t.Fatalf("%d bytes arrived", k)
	}
}

// pdml is what tshark says of the packets, field by field.
type shown struct {
	name, show, value string
	pos, size         int
}

func pdml(t *testing.T, text string) (packets [][]shown) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		tok, err := d.Token()
		if err == io.EOF {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "packet" {
			packets = append(packets, nil)
			continue
		}
		var s shown
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "name":
				s.name = a.Value
			case "show":
				s.show = a.Value
			case "value":
				s.value = a.Value
			case "pos":
				s.pos, _ = strconv.Atoi(a.Value)
			case "size":
				s.size, _ = strconv.Atoi(a.Value)
			}
		}
		if e.Name.Local == "field" && len(packets) > 0 {
			packets[len(packets)-1] = append(packets[len(packets)-1], s)
		}
	}
}

// compare holds what tshark shows with our dissector to what our decoder says.
func compare(t *testing.T, c *collected, file string) (fields int, malformed int) {
	t.Helper()
	packets := pdml(t, tshark(t, "-r", file, "-X", dissector(t), "-T", "pdml"))
	if len(packets) != len(c.packets) {
		t.Fatalf("tshark shows %d of %d packets", len(packets), len(c.packets))
	}
	for i, p := range packets {
		want, ok := arq.Dissect(c.packets[i].Payload)
		if !ok {
			continue // corrupted
		}
		var got []shown
		for _, s := range p {
			if strings.HasPrefix(s.name, "wherry.") {
				got = append(got, s)
			}
		}
		head := 14 + 20 + 8
		if c.packets[i].Remote.Addr().Is6() {
			head = 14 + 40 + 8
		}
		for k := range max(len(got), len(want)) {
			if k >= len(got) || k >= len(want) || !same(got[k], want[k], c.packets[i].Payload, head) {
				t.Fatalf("packet %d, field %d:\n%s\ntshark  %s\ndecoder %s", i+1, k, hex.EncodeToString(c.packets[i].Payload[:min(200, len(c.packets[i].Payload))]),
					excerpt(got, k), excerpt(want, k))
			}
			fields++
			if want[k].Name == "wherry.malformed" {
				malformed++
			}
		}
	}
	return fields, malformed
}

func excerpt[T any](all []T, k int) string {
	if k >= len(all) {
		return fmt.Sprintf("has %d fields", len(all))
	}
	return fmt.Sprintf("%.300v", all[k])
}

func same(s shown, f arq.Field, payload []byte, head int) bool {
	if s.name != f.Name {
		return false
	}
	if f.Size == 0 {
		return f.Text == "" || s.show == f.Text
	}
	if s.pos != head+f.Offset || s.size != f.Size {
		return false
	}
	raw := hex.EncodeToString(payload[f.Offset : f.Offset+f.Size])
	if f.Bytes != nil || f.Text != "" {
		return s.value == raw
	}
	n, err := strconv.ParseUint(s.show, 0, 64)
	return err == nil && n == f.Value
}

// TestTransfers: whole connections, of the model and of the textbook protocols,
// are shown without a malformed packet, and every field as our decoder has it.
func TestTransfers(t *testing.T) {
	for _, protocol := range []arq.ARQ{arq.ModelARQ, arq.GoBackN, arq.SelectiveRepeat, arq.StopAndWait} {
		t.Run(protocol.String(), func(t *testing.T) {
			t.Parallel()
			c := collect(t, capture.Options{Application: "wherry test", Comment: "a transfer"})
			cfg := rudp.Config{Engine: arq.Config{ARQ: protocol, MaxDatagram: 1200, NoDiscovery: true, RTO: 50 * time.Millisecond}}
			cfg.Socket.Impair = &netem.Config{Loss: .05, Seed: 3}
			transfer(t, c, cfg, 100_000)
			file := c.close(t)
			fields, malformed := compare(t, c, file)
			if fields < 1000 || malformed > 0 {
				t.Fatalf("%d fields compared, %d malformed", fields, malformed)
			}
			lost := 0
			for _, p := range c.packets {
				if p.Comment != "" {
					lost++
				}
			}
			out := tshark(t, "-r", file, "-X", dissector(t), "-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE",
				"-T", "fields", "-e", "frame.time_epoch", "-e", "frame.packet_flags_direction", "-e", "udp.checksum.status", "-e", "ip.checksum.status", "-e", "frame.comment", "-e", "_ws.expert", "-e", "ip.dsfield.ecn")
			// Said of ports between 33434 and 33533, which the kernel may pick.
			traceroute := regexp.MustCompile(`,?Expert Info \(Chat/Sequence\): Possible traceroute: hop #\d+, attempt #\d+`)
			dropped := 0
			for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
				f := strings.Split(line, "\t")
				f[5] = strings.TrimPrefix(traceroute.ReplaceAllString(f[5], ""), ",")
				p := c.packets[i]
				direction, at := "1", fmt.Sprintf("%d.%09d", p.At.Unix(), p.At.Nanosecond())
				if p.Sent {
					direction = "2"
				}
				if n, err := strconv.ParseUint(f[1], 0, 32); err != nil || fmt.Sprint(n) != direction {
					t.Fatalf("packet %d: direction %q, want %s", i+1, f[1], direction)
				}
				if f[0] != at || f[2] != "1" || f[3] != "1" || f[5] != "" && f[5] != "Expert Info (Comment/Comment): "+p.Comment || f[6] != fmt.Sprint(p.ECN) {
					t.Fatalf("packet %d: %q, want time %s, good checksums, ECN %d, nothing unusual", i+1, f, at, p.ECN)
				}
				if f[4] != p.Comment {
					t.Fatalf("packet %d: comment %q, want %q", i+1, f[4], p.Comment)
				}
				if f[4] != "" {
					dropped++
				}
			}
			if lost == 0 || dropped != lost {
				t.Fatalf("%d packets with a comment that they were lost, %d were", dropped, lost)
			}
		})
	}
}

// TestOddPackets: packets that no engine would send, with good checksums, are
// taken apart alike, up to the same place.
func TestOddPackets(t *testing.T) {
	c := collect(t, capture.Options{})
	base := time.Unix(1_700_000_000, 0)
	local, remote := netip.MustParseAddrPort("[2001:db8::1]:40000"), netip.MustParseAddrPort("[2001:db8::2]:41000")
	rng := rand.New(rand.NewPCG(5, 6))
	seen := map[string]int{}
	for i := range 1500 {
		b := oddPacket(rng)
		arq.Seal(b)
		fields, _ := arq.Dissect(b)
		for _, f := range fields {
			seen[f.Name]++
		}
		c.add(capture.Packet{At: base.Add(time.Duration(i)), Sent: i%2 == 0, Local: local, Remote: remote, Payload: b})
	}
	fields, malformed := compare(t, c, c.close(t))
	if malformed < 300 || malformed > 2700 || fields < 10000 {
		t.Errorf("%d of 1500 packets are malformed, %d fields were compared: not what this test is for", malformed, fields)
	}
	for _, name := range []string{"data", "ack.range", "ack.bitmap", "ack.gap", "window.limit", "challenge", "response", "sender.every",
		"close.reason", "datagram.number", "padding", "param.arq", "cookie", "reset_token", "supported_version"} {
		if seen["wherry."+name] < 10 {
			t.Errorf("only %d packets have wherry.%s", seen["wherry."+name], name)
		}
	}
}

// oddPacket makes a packet up: frames of random fields, now and then damaged.
func oddPacket(rng *rand.Rand) []byte {
	be := func(b []byte, v uint64, size int) []byte {
		for i := size - 1; i >= 0; i-- {
			b = append(b, byte(v>>(8*i)))
		}
		return b
	}
	number := func() uint64 { return rng.Uint64() >> rng.IntN(64) >> rng.IntN(3) }
	junk := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	parameters := func(b []byte) []byte {
		b = be(b, number(), 8)
		b = be(b, 1200+rng.Uint64N(60000), 4)
		b = be(b, number(), 4)
		return be(append(b, byte(rng.IntN(6)), byte(rng.IntN(20)/19)), number(), 2)
	}
	typ := byte(0)
	if rng.IntN(4) == 0 {
		typ = byte(1 + rng.IntN(5))
	}
	b := append([]byte{'W', 2, typ, 0, 0, 0, 0, 0}, junk(16)...)
	switch typ {
	case 1:
		b = append(parameters(b), junk(rng.IntN(40))...)
	case 2:
		n := rng.IntN(70)
		b = append(parameters(b), junk(20)...)
		b = append(be(b, uint64(n), 2), junk(n+rng.IntN(20)/19)...)
	case 3:
		n := rng.IntN(70)
		b = parameters(be(b, number(), 8))
		b = append(be(b, uint64(n), 2), junk(n)...)
	case 4:
		b = append(b, junk(rng.IntN(5))...)
	case 5:
		b = append(b, junk(16)...)
	}
	more := rng.IntN(5)
	if typ != 0 && typ != 3 {
		more = 0
	}
	for range more {
		switch k := rng.IntN(12); k {
		case 0:
			b = append(b, make([]byte, 1+rng.IntN(20))...)
		case 1:
			n := rng.IntN(60)
			b = be(append(b, 1, byte(rng.IntN(9)/4)), uint64(n), 2)
			b = append(be(b, number(), 8), junk(n)...)
		case 2, 3, 10:
			form, largest := byte(rng.IntN(2)), number()
			n := rng.IntN(8)
			b = be(append(b, 2, form), uint64(n), 2)
			b = append(be(b, largest, 8), junk(16)...)
			for i := range n {
				if form == 1 {
					x := byte(rng.Uint32())
					if i == 0 {
						x |= 0x80
					}
					b = append(b, x)
					continue
				}
				gap := uint64(0)
				if i > 0 {
					gap = number() % 70000 >> rng.IntN(16)
				}
				b = be(be(b, gap, 2), number()>>rng.IntN(60), 2)
			}
		case 4:
			b = append(b, 4)
		case 5:
			b = be(append(b, 5), number(), 8)
		case 6:
			b = be(append(b, 6), number(), 8)
		case 7:
			b = be(be(be(append(b, 7), number(), 8), number(), 2), number(), 4)
		case 8:
			n := rng.IntN(40)
			b = be(append(b, 8, byte(rng.IntN(9)/4)), uint64(n), 2)
			b = be(b, number(), 4)
			for range n {
				b = append(b, "abcdefg <&>\"'ä"[rng.IntN(12)])
			}
		case 9:
			n := rng.IntN(40)
			b = be(be(append(b, 9), number(), 8), number(), 8)
			b = append(be(b, uint64(n), 2), junk(n)...)
		case 11:
			b = be(append(b, 3), number(), 8)
		}
	}
	switch rng.IntN(8) {
	case 0: // a byte changed, not in what makes it ours
		if len(b) > 24 {
			b[24+rng.IntN(len(b)-24)] ^= byte(1 << rng.IntN(8))
		}
	case 1:
		b = b[:24+rng.IntN(len(b)-23)]
	}
	return b
}
