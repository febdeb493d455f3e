package bulk

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// list is the names h0.example to h(n-1).example.
func list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "h%d.example\n", i)
	}
	return b.String()
}

// rows reads a CSV output and returns its rows by line number, failing on
// anything that is not as documented.
func rows(t *testing.T, out []byte) map[string][]map[string]string {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(out))
	all, err := r.ReadAll()
	if err != nil {
		t.Fatalf("reading the output: %v", err)
	}
	if len(all) == 0 || strings.Join(all[0], ",")+"\n" != csvHeader {
		t.Fatalf("no header: %q", all)
	}
	by := make(map[string][]map[string]string)
	last := ""
	for _, f := range all[1:] {
		row := make(map[string]string)
		for i, name := range all[0] {
			row[name] = f[i]
		}
		if len(by[row["line"]]) > 0 && last != row["line"] {
			t.Errorf("line %s has more than one result", row["line"])
		}
		last = row["line"]
		by[last] = append(by[last], row)
	}
	return by
}

// checkAll checks that out has just one result for each of n lines, and that
// each is the address of its name.
func checkAll(t *testing.T, out []byte, n int) {
	t.Helper()
	by := rows(t, out)
	if len(by) != n {
		t.Errorf("%d results, want %d", len(by), n)
	}
	wrong := 0
	for i := range n {
		r := by[fmt.Sprint(i+1)]
		if len(r) != 1 || r[0]["query"] != fmt.Sprintf("h%d.example", i) || r[0]["status"] != "NOERROR" || r[0]["data"] != addressOf(i) {
			if wrong++; wrong <= 5 {
				t.Errorf("line %d: %v", i+1, r)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d lines are wrong", wrong)
	}
}

// TestEveryNameOnce puts all faults together that a server and a network may
// have: each name must still have one result, and that the right one.
func TestEveryNameOnce(t *testing.T) {
	const names = 8000
	spoofer := netip.MustParseAddrPort("203.0.113.66:53")
	faulty := func(q *query) {
		right := answer(q.msg)
		forged := func() []byte {
			var m dns.Msg
			if err := m.Unpack(right); err != nil {
				panic(err)
			}
			for _, rr := range m.Answer {
				rr.(*dns.A).A = []byte{6, 6, 6, 6}
			}
			b, err := m.Pack()
			if err != nil {
				panic(err)
			}
			return b
		}
		switch q.net.intn(16) {
		case 0: // nothing
			return
		case 1: // another ID, before the right answer
			b := forged()
			b[0] ^= 0x55
			q.reply(b, 0, q.addr)
		case 2: // from another address, and from another port
			q.reply(forged(), 0, spoofer)
			q.reply(forged(), 0, netip.AddrPortFrom(q.addr.Addr(), 54))
		case 3: // to another question
			b := forged()
			b[headerLen+1] = 'x'
			q.reply(b, 0, q.addr)
		case 4: // a query instead of an answer
			b := forged()
			b[2] &^= 0x80
			q.reply(b, 0, q.addr)
		case 5: // garbage: the header and then noise
			b := forged()
			for i := headerLen; i < len(b); i++ {
				b[i] = byte(q.net.intn(256))
			}
			q.reply(b, 0, q.addr)
		case 6: // cut off anywhere, without saying so
			b := forged()
			q.reply(b[:q.net.intn(len(b))], 0, q.addr)
		case 7: // counts more records than there are
			b := forged()
			b[7] = 200
			q.reply(b, 0, q.addr)
		case 8: // a record whose name points to itself
			b := forged()
			at := len(b) - 16 - optLen
			if b[at] == 0xc0 {
				b[at+1] = byte(at)
				q.reply(b, 0, q.addr)
			}
		case 9: // truncated
			b := forged()
			b[2] |= 2
			q.reply(b, 0, q.addr)
			return
		case 10: // twice
			q.reply(right, 0, q.addr)
			q.reply(right, 3*time.Millisecond, q.addr)
			return
		case 11: // late
			q.reply(right, 500*time.Millisecond, q.addr)
			return
		case 12: // too late for anything
			q.reply(right, 20*time.Second, q.addr)
			return
		case 13: // not understood, with nothing but the header
			if m := new(dns.Msg); m.Unpack(q.msg) == nil && m.IsEdns0() != nil {
				q.reply([]byte{q.msg[0], q.msg[1], 0x80, dns.RcodeFormatError, 0, 0, 0, 0, 0, 0, 0, 0}, 0, q.addr)
				return
			}
		}
		q.reply(right, 0, q.addr)
	}
	for _, tt := range []struct {
		name    string
		servers int
		opt     Options
	}{
		{"one server", 1, Options{}},
		{"one server, in order", 1, Options{Ordered: true}},
		{"three servers", 3, Options{}},
		{"twenty servers, case mixed", 20, Options{MixCase: true}},
		{"few at a time", 2, Options{Concurrency: 50}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFakeNet(t)
				opt := tt.opt
				opt.Listen, opt.Dial = n.listen, n.dial
				opt.Retries = 40 // chance must not fail the test
				for i := range tt.servers {
					tcp := 0
					s := &fakeServer{delay: 5 * time.Millisecond, loss: 0.02, handle: faulty}
					s.stream = func(msg []byte) []byte {
						s.mu.Lock()
						tcp++
						hangUp := tcp%9 == 0
						s.mu.Unlock()
						if hangUp {
							return nil
						}
						return answer(msg)
					}
					opt.Servers = append(opt.Servers, n.add(fmt.Sprintf("192.0.2.%d:53", i+1), s))
				}
				var out bytes.Buffer
				stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%+v", stats)
				if stats.Results != names || stats.Answered != names {
					t.Errorf("%d results, %d of them answers; want %d", stats.Results, stats.Answered, names)
				}
				if stats.Strays == 0 || stats.Late == 0 || stats.Truncated == 0 || stats.TCP == 0 || stats.Retries == 0 {
					t.Error("faults that were made have not been counted")
				}
				checkAll(t, out.Bytes(), names)
				if opt.Ordered {
					checkOrder(t, out.String())
				}
				used := 0
				for _, s := range n.servers {
					used = max(used, len(s.sources))
				}
				if used < defaultPorts {
					t.Errorf("queries came from %d ports", used)
				}
			})
		})
	}
}

func checkOrder(t *testing.T, out string) {
	t.Helper()
	last := 0
	for row := range strings.Lines(strings.TrimPrefix(out, csvHeader)) {
		var line int
		if fmt.Sscanf(row, "%d,", &line); line < last {
			t.Fatalf("line %d after line %d", line, last)
		}
		last = line
	}
}

// TestLossyLink is a link of 20 ms that loses 5% of packets each way.
func TestLossyLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 40000
		n := newFakeNet(t)
		s := &fakeServer{delay: 20 * time.Millisecond, loss: 0.05}
		s.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
		opt := Options{Listen: n.listen, Servers: []Server{n.add("192.0.2.1:53", s)}}
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, out.Bytes(), names)
		t.Logf("%v, %d queries", stats.Elapsed, stats.Sent)
		if stats.Elapsed > 6*time.Second {
			t.Errorf("took %v", stats.Elapsed)
		}
		if most := int64(names * 1.2); stats.Sent > most {
			t.Errorf("%d queries, want at most %d", stats.Sent, most)
		}
	})
}

// TestKindsOfResult has one line for each way that a name can end.
func TestKindsOfResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		s := &fakeServer{delay: time.Millisecond}
		s.handle = func(q *query) {
			var m dns.Msg
			m.Unpack(q.msg)
			switch name := m.Question[0].Name; {
			case strings.HasPrefix(name, "silent."):
			case strings.HasPrefix(name, "servfail."):
				q.reply(withRcode(q.msg, dns.RcodeServerFailure), 0, q.addr)
			case strings.HasPrefix(name, "refused."):
				q.reply(withRcode(q.msg, dns.RcodeRefused), 0, q.addr)
			case strings.HasPrefix(name, "nodata."):
				q.reply(withRcode(q.msg, dns.RcodeSuccess), 0, q.addr)
			case strings.HasPrefix(name, "big."):
				b := withRcode(q.msg, dns.RcodeSuccess)
				b[2] |= 2
				q.reply(b, 0, q.addr)
			case m.Question[0].Qtype == dns.TypePTR:
				r := new(dns.Msg).SetReply(&m)
				r.Answer = append(r.Answer, &dns.PTR{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypePTR, Class: 1, Ttl: 5}, Ptr: "host.example."})
				b, _ := r.Pack()
				q.reply(b, 0, q.addr)
			default:
				q.reply(answer(q.msg), 0, q.addr)
			}
		}
		input := "\ufeffh1.example\n" +
			"# a comment\n\n; another\n" + // lines 2 to 4
			"h2.example AAAA  \r\n" +
			"nx.example\n" +
			"silent.example\n" +
			"servfail.example\n" +
			"refused.example\n" +
			"nodata.example\n" + // 10
			"big.example\n" +
			"a..b\n" +
			"h3.example NOSUCHTYPE\n" +
			"too many words here\n" +
			strings.Repeat("a", 64) + ".example\n" + // 15
			strings.Repeat("abcdefgh.", 32) + "example\n" +
			"bell\x07.example\n" +
			"latin\xe9.example\n" +
			"192.0.2.77\n" +
			"2001:db8::7\n" + // 20
			"h4.bücher.example\n" +
			"h1.example\n" + // again
			strings.Repeat("x", 100000) + "\n" +
			"\x1b[31m\n" +
			"h5.example. \t" // no newline at the end
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader(input), &out,
			Options{Listen: n.listen, Dial: n.dial, Servers: []Server{n.add("192.0.2.1:53", s)}})
		if err != nil {
			t.Fatal(err)
		}
		if stats.Skipped != 3 || stats.Results != 22 || stats.Malformed != 9 {
			t.Errorf("%+v", stats)
		}
		by := rows(t, out.Bytes())
		for line, want := range map[int][3]string{
			1:  {"NOERROR", "h1.example.", "10.0.0.1"},
			5:  {"NODATA", "h2.example.", "10.0.0.2"}, // the server gives an A record for AAAA
			6:  {"NXDOMAIN", "nx.example.", ""},
			7:  {"TIMEOUT", "silent.example.", ""},
			8:  {"SERVFAIL", "servfail.example.", ""},
			9:  {"REFUSED", "refused.example.", ""},
			10: {"NODATA", "nodata.example.", ""},
			11: {"TRUNCATED", "big.example.", ""},
			12: {"MALFORMED", "", "empty label"},
			13: {"MALFORMED", "", `unknown type "NOSUCHTYPE"`},
			14: {"MALFORMED", "", "more than a name and a type"},
			15: {"MALFORMED", "", "label longer than 63 octets"},
			16: {"MALFORMED", "", "name longer than 255 octets"},
			17: {"MALFORMED", "", "control character in name"},
			18: {"MALFORMED", "", "not UTF-8"},
			19: {"NOERROR", "77.2.0.192.in-addr.arpa.", "host.example."},
			20: {"NOERROR", "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "host.example."},
			21: {"NOERROR", "h4.xn--bcher-kva.example.", "10.0.0.4"},
			22: {"NOERROR", "h1.example.", "10.0.0.1"},
			23: {"MALFORMED", "", "name longer than 255 octets"},
			24: {"MALFORMED", "", "control character in name"},
			25: {"NOERROR", "h5.example.", "10.0.0.5"},
		} {
			r := by[fmt.Sprint(line)]
			if len(r) != 1 {
				t.Errorf("line %d: %d rows", line, len(r))
				continue
			}
			if got := [3]string{r[0]["status"], r[0]["name"], r[0]["data"]}; got != want {
				t.Errorf("line %d: %q, want %q", line, got, want)
			}
		}
		for _, c := range out.Bytes() {
			if c != '\n' && (c < 0x20 || c > 0x7e) {
				t.Fatalf("the output has the octet %#x", c)
			}
		}
	})
}

// TestSecondServer checks that a name which one server is silent on, or says
// no to, is asked of another.
func TestSecondServer(t *testing.T) {
	for name, bad := range map[string]func(q *query){
		"silent":   func(*query) {},
		"refuses":  func(q *query) { q.reply(withRcode(q.msg, dns.RcodeRefused), 0, q.addr) },
		"servfail": func(q *query) { q.reply(withRcode(q.msg, dns.RcodeServerFailure), 0, q.addr) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const names = 3000
				n := newFakeNet(t)
				good := &fakeServer{delay: 10 * time.Millisecond}
				good.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
				opt := Options{Listen: n.listen, Servers: []Server{
					n.add("192.0.2.1:53", &fakeServer{delay: time.Millisecond, handle: bad}),
					n.add("192.0.2.2:53", good),
				}}
				var out bytes.Buffer
				stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
				if err != nil {
					t.Fatal(err)
				}
				checkAll(t, out.Bytes(), names)
				if stats.Elapsed > 10*time.Second {
					t.Errorf("took %v", stats.Elapsed)
				}
			})
		})
	}
}

// TestNobodyAnswers checks that a long list ends soon if no server answers,
// and that each line has its result.
func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 50000
		n := newFakeNet(t)
		var told []string
		opt := Options{
			Listen: n.listen, Ordered: true,
			Servers: []Server{n.add("192.0.2.1:53", &fakeServer{}), n.add("192.0.2.2:53", &fakeServer{})},
			Trace:   &Trace{Silent: func(s string, silent bool) { told = append(told, fmt.Sprint(s, silent)) }},
		}
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
		if !errors.Is(err, ErrSilent) {
			t.Errorf("error %v", err)
		}
		if stats.Results != names || stats.Failed != names {
			t.Errorf("%+v", stats)
		}
		if stats.Elapsed > 30*time.Second {
			t.Errorf("took %v", stats.Elapsed)
		}
		if by := rows(t, out.Bytes()); len(by) != names || by["1"][0]["status"] != "TIMEOUT" || by["50000"][0]["status"] != "NOTASKED" {
			t.Errorf("%d results, %v, %v", len(by), by["1"], by["50000"])
		}
		if len(told) != 2 {
			t.Errorf("told %q", told)
		}
	})
}

// TestQPS checks that the rate is kept, by each server and in every stretch of
// time, repeats included.
func TestQPS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names, qps = 2000, 100
		n := newFakeNet(t)
		var servers []*fakeServer
		opt := Options{Listen: n.listen, QPS: qps, Retries: 40}
		for i := range 2 {
			s := &fakeServer{delay: 10 * time.Millisecond, loss: 0.1}
			s.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
			servers = append(servers, s)
			opt.Servers = append(opt.Servers, n.add(fmt.Sprintf("192.0.2.%d:53", i+1), s))
		}
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, opt)
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, out.Bytes(), names)
		if most := time.Duration(float64(stats.Sent)/2/qps*1.1+1) * time.Second; stats.Elapsed > most {
			t.Errorf("took %v, could be done in %v", stats.Elapsed, most)
		}
		for _, s := range servers {
			for i, at := range s.arrivals {
				if j := i + qps; j < len(s.arrivals) && s.arrivals[j].Sub(at) < 980*time.Millisecond {
					t.Fatalf("%d queries in %v", qps+1, s.arrivals[j].Sub(at))
				}
			}
		}
	})
}

// TestGiveUp checks that no name takes longer than it may, over UDP or not.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		for _, server := range []Server{n.add("192.0.2.1:53", &fakeServer{}), {Name: "slow", Exchanger: &slowExchanger{delay: time.Hour}}, {Name: "none", Exchanger: nobody{}}} {
			var out bytes.Buffer
			stats, err := Run(t.Context(), strings.NewReader(list(20)), &out, Options{
				Listen: n.listen, Servers: []Server{server}, GiveUp: 1700 * time.Millisecond, Retries: 100,
			})
			if err != nil || stats.Failed != 20 {
				t.Errorf("%v, %+v", err, stats)
			}
			if stats.Elapsed < 1500*time.Millisecond || stats.Elapsed > 5*time.Second {
				t.Errorf("took %v", stats.Elapsed)
			}
		}
	})
}

// failAfter is an output that breaks, or is slow.
type failAfter struct {
	n     int
	sleep time.Duration
}

func (f *failAfter) Write(b []byte) (int, error) {
	time.Sleep(f.sleep)
	if f.n -= len(b); f.n < 0 {
		return 0, errors.New("no space left")
	}
	return len(b), nil
}

func TestOutputBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFakeNet(t)
		s := &fakeServer{delay: time.Millisecond}
		s.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
		opt := Options{Listen: n.listen, Servers: []Server{n.add("192.0.2.1:53", s)}}
		// Enough that the writing begins long before the end.
		_, err := Run(t.Context(), strings.NewReader(list(20000)), &failAfter{n: 1000}, opt)
		if err == nil || !strings.Contains(err.Error(), "writing results: no space left") {
			t.Errorf("error %v", err)
		}
	})
}

// TestSlowOutput checks that an output which is read slowly costs no answers
// and bounds what is kept.
func TestSlowOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const names = 70000
		n := newFakeNet(t)
		s := &fakeServer{delay: time.Millisecond}
		s.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
		var most int64
		opt := Options{
			Listen: n.listen, Servers: []Server{n.add("192.0.2.1:53", s)},
			Trace: &Trace{Progress: func(s Stats) {
				most = max(most, s.Results*50-s.Written) // rows are 80 octets and more
			}},
		}
		stats, err := Run(t.Context(), strings.NewReader(list(names)), &failAfter{n: 1 << 40, sleep: 10 * time.Second}, opt)
		if err != nil {
			t.Fatal(err)
		}
		if stats.Answered != names || stats.Timeouts > 0 {
			t.Errorf("%+v", stats)
		}
		if most > stageMost+stageMost/2 {
			t.Errorf("%d octets waited to be written", most)
		}
	})
}

var someName = regexp.MustCompile(`h[0-9]+\.example`)

// TestStopAndResume stops runs at odd times and goes on, until all is done.
func TestStopAndResume(t *testing.T) {
	const names = 1000
	for _, format := range []Format{CSV, JSON, Text} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v ordered %v", format, ordered), func(t *testing.T) {
				f := newFile(t)
				for try := 0; ; try++ {
					if try == 100 {
						t.Fatal("never done")
					}
					done, err := Resume(f, format)
					if err != nil {
						t.Fatal(err)
					}
					before := done.Lines()
					var stats Stats
					synctest.Test(t, func(t *testing.T) {
						n := newFakeNet(t)
						s := &fakeServer{delay: 10 * time.Millisecond, loss: 0.1}
						s.handle = func(q *query) { q.reply(answer(q.msg), 0, q.addr) }
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(50*try)*time.Millisecond)
						defer cancel()
						stats, err = Run(ctx, strings.NewReader("# names\n"+list(names)+list(10)), f,
							Options{Listen: n.listen, Servers: []Server{n.add("192.0.2.1:53", s)}, Format: format, Ordered: ordered, Resume: done, Retries: 40})
					})
					if err == nil {
						if stats.Resumed != before || stats.Orphans != 0 {
							t.Errorf("%d results before, %+v", before, stats)
						}
						break
					}
					if !errors.Is(err, context.DeadlineExceeded) {
						t.Fatal(err)
					}
					// A crash may also cut off what was being written.
					if size, _ := f.Seek(0, io.SeekEnd); try%2 == 1 && size > 10 {
						f.Truncate(size - int64(try%7) - 1)
					}
				}
				f.Seek(0, io.SeekStart)
				out, _ := io.ReadAll(f)
				count := make(map[string]int)
				for row := range strings.Lines(strings.TrimPrefix(string(out), format.header())) {
					name := someName.FindString(row)
					var i int
					fmt.Sscanf(name, "h%d.", &i)
					if !strings.Contains(row, addressOf(i)) {
						t.Errorf("wrong: %s", row)
					}
					count[name]++
				}
				for i := range names {
					want := 1
					if i < 10 {
						want = 2
					}
					if name := fmt.Sprintf("h%d.example", i); count[name] != want {
						t.Fatalf("%s has %d results, want %d", name, count[name], want)
					}
				}
				if strings.Count(string(out), "line,query") > 1 {
					t.Error("more than one header")
				}
			})
		}
	}
}
