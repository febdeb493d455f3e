package fleet

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/socket/sockettest"
)

// nameServer answers A for nN.example on a loopback port: 10.x.y.z made of N,
// and NXDOMAIN for all else.
func nameServer(t testing.TB) bulk.Server {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if n, ok := number(q.Question[0].Name); ok {
			rr, _ := dns.NewRR(fmt.Sprintf("%s 60 IN A %s", q.Question[0].Name, address(n)))
			m.Answer = []dns.RR{rr}
		} else {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return bulk.Server{Addr: pc.LocalAddr().(*net.UDPAddr).AddrPort()}
}

func number(name string) (n int, ok bool) {
	_, err := fmt.Sscanf(strings.ToLower(name), "n%d.example.", &n)
	return n, err == nil
}

func address(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func list(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "n%d.example\n", i)
	}
	return b.String()
}

// exactlyOnce holds a CSV output to the list that list made.
func exactlyOnce(t testing.TB, out string, n int, ordered bool) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != n+1 || strings.Join(rows[0], ",")+"\n" != bulk.CSV.Header() {
		t.Fatalf("%d rows, want %d and a header", len(rows), n)
	}
	seen := make([]bool, n)
	for i, r := range rows[1:] {
		var line int
		fmt.Sscan(r[0], &line)
		k, ok := number(r[1] + ".")
		if !ok || line != k+1 || seen[k] || r[3] != "NOERROR" || r[8] != address(k).String() || ordered && k != i {
			t.Fatalf("row %d is %q", i, r)
		}
		seen[k] = true
	}
}

// Workers die and messages come twice: every name has one result.
func TestMemory(t *testing.T) {
	for _, ordered := range []bool{false, true} {
		t.Run(fmt.Sprint("ordered=", ordered), func(t *testing.T) {
			const n = 5000
			m := newMemory(rand.New(rand.NewPCG(1, 2)))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			server := nameServer(t)
			var wg sync.WaitGroup
			work := func(name string, die <-chan struct{}) {
				e := m.end("", 3)
				ctx, stop := context.WithCancel(ctx)
				defer stop()
				if die != nil {
					go func() {
						select {
						case <-die:
							e.Close()
							stop()
						case <-ctx.Done():
						}
					}()
				}
				err := Work(ctx, e, WorkerOptions{Name: name, Ask: bulk.Options{Servers: []bulk.Server{server}}})
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%s: %v", name, err)
				}
			}
			die := make(chan struct{})
			var once sync.Once
			wg.Go(func() { work("one", nil) })
			wg.Go(func() { work("two", die) })
			var out bytes.Buffer
			var skippedLines = "# a comment\n\n"
			stats, err := Coordinate(ctx, m.end("job", 10), strings.NewReader(list(n)+skippedLines), &out, Options{
				Job: "job", Lines: 100, Outstanding: 8, Ordered: ordered, Every: time.Millisecond,
				Progress: func(s Stats) {
					if s.Names > n/4 {
						once.Do(func() { close(die) })
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			wg.Wait()
			exactlyOnce(t, out.String(), n, ordered)
			if stats.Names != n || stats.Given != 0 || stats.Strange != 0 || stats.Skipped != 2 {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// What is no result of a batch that is out is not believed and changes nothing.
func TestStrangeResults(t *testing.T) {
	m := newMemory(nil)
	worker, coordinator := m.end("", 10), m.end("job", 10)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	done := make(chan Stats, 1)
	var out bytes.Buffer
	go func() {
		s, err := Coordinate(ctx, coordinator, strings.NewReader("a\nb\nc\n"), &out, Options{Job: "job", Lines: 2, Format: bulk.Text})
		if err != nil {
			t.Error(err)
		}
		done <- s
	}()
	var batches []*batch
	for range 2 {
		d, err := worker.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		b, err := parseBatch(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
	answer := func(b *batch) *result {
		r := &result{job: b.job, number: b.number, worker: "w"}
		for _, l := range b.lines {
			r.texts = append(r.texts, numbered{l.number, []byte(l.text + "\tA\tNOERROR\n")})
		}
		return r
	}
	send := func(b []byte) {
		if err := worker.Send(ctx, "job", b); err != nil {
			t.Fatal(err)
		}
	}
	good := answer(batches[0])
	strange := 0
	for _, change := range []func(r *result){
		func(r *result) { r.job = "other" },
		func(r *result) { r.texts = r.texts[:1] },
		func(r *result) { r.texts = append(r.texts, numbered{9, []byte("x\n")}) },
		func(r *result) { r.texts[0].number = 3 },
		func(r *result) { slices.Reverse(r.texts) },
		func(r *result) { r.texts[0].text = []byte("no end of line") },
		func(r *result) { r.texts[0].text = []byte("\x1b[31m\n") },
		func(r *result) { r.worker = "a b" },
		func(r *result) { r.worker = strings.Repeat("w", 1000) },
	} {
		r := answer(batches[0])
		change(r)
		send(r.append(nil))
		strange++
	}
	for _, b := range []string{"", "{}", "{}\n", `{"wherry":"results","v":2,"job":"job","batch":0,"lines":2}` + "\n", `{"wherry":"results","v":1,"job":"job","batch":0,"lines":2000000000}` + "\n", `{"wherry":"results","v":1,"job":"job","batch":0,"lines":2}` + "\n1 99999999\nx\n"} {
		send([]byte(b))
		strange++
	}
	send(good.append(nil))
	send(good.append(nil)) // twice
	send(answer(&batch{job: "job", number: 77, lines: []line{{1, "a"}}}).append(nil))
	send(answer(batches[1]).append(nil))
	s := <-done
	if s.Strange != int64(strange) || s.Twice != 2 || s.Names != 3 {
		t.Errorf("%+v, want %d strange", s, strange)
	}
	if out.String() != "a\tA\tNOERROR\nb\tA\tNOERROR\nc\tA\tNOERROR\n" {
		t.Errorf("%q", out.String())
	}
}

// A worker drops what is no batch and goes on.
func TestStrangeBatches(t *testing.T) {
	m := newMemory(nil)
	c := m.end("job", 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	head := `{"wherry":"names","v":1,"job":"job","batch":0,"type":"A","format":"csv","lines":1}` + "\n"
	bad := []string{"", "nonsense\n", head, head + "1 a", head + "1 a\n2 b\n", head + "x a\n", head + "1 \n", head + "1  a\n", head + "1 # comment\n", head + "1 " + strings.Repeat("a", 5000) + "\n",
		strings.Replace(head, `"lines":1`, `"lines":2`, 1) + "2 a\n1 b\n", strings.Replace(head, `"A"`, `"AXFR"`, 1) + "1 a\n", strings.Replace(head, "csv", "exe", 1) + "1 a\n"}
	for _, b := range bad {
		_ = c.Send(ctx, "job", []byte(b))
	}
	b := &batch{job: "job", number: 5, qtype: dns.TypeA, lines: []line{{7, "n1.example"}, {9, "no.example"}, {12, "a..b"}, {13, "n2.example A"}}}
	_ = c.Send(ctx, "job", b.append(nil))
	strange := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = Work(ctx, m.end("", 3), WorkerOptions{Name: "w", Ask: bulk.Options{Servers: []bulk.Server{nameServer(t)}}, Trace: &WorkerTrace{Strange: func(error) { strange++ }}})
	})
	d, err := c.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseResult(d.Body)
	if err != nil || !r.answers(b) {
		t.Fatalf("%q, %v", d.Body, err)
	}
	for i, want := range []string{"7,n1.example,A,NOERROR,n1.example.,60,IN,A,10.0.0.1", "9,no.example,A,NXDOMAIN", "12,a..b,A,MALFORMED", "13,n2.example A,A,NOERROR,n2.example.,60,IN,A,10.0.0.2"} {
		if !strings.HasPrefix(string(r.texts[i].text), want) {
			t.Errorf("%q, want %q", r.texts[i].text, want)
		}
	}
	cancel()
	wg.Wait()
	if strange != len(bad) {
		t.Errorf("%d strange batches, want %d", strange, len(bad))
	}
}

// Where no server answers the worker ends, and its batches go to others.
func TestSilentServers(t *testing.T) {
	m := newMemory(nil)
	c := m.end("job", 10)
	b := &batch{job: "job", qtype: dns.TypeA}
	for i := range 5000 {
		b.lines = append(b.lines, line{uint64(i + 1), fmt.Sprintf("n%d.example", i)})
	}
	_ = c.Send(t.Context(), "job", b.append(nil))
	// The system says that nobody is there.
	nobody := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	e := m.end("", 3)
	err := Work(t.Context(), e, WorkerOptions{Name: "w", Ask: bulk.Options{Servers: []bulk.Server{{Addr: nobody}}}})
	if !errors.Is(err, bulk.ErrSilent) {
		t.Error(err)
	}
	if e.Close(); len(m.queues[""]) != 1 {
		t.Error("the batch is gone")
	}
}

func FuzzBatch(f *testing.F) {
	f.Add((&batch{job: "j", number: 3, qtype: 1, lines: []line{{1, "a"}, {4, "b MX"}}}).append(nil))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		b, err := parseBatch(p)
		if err != nil {
			return
		}
		again, err := parseBatch(b.append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(b) {
			t.Fatalf("%v became %v, %v", b, again, err)
		}
	})
}

func FuzzResult(f *testing.F) {
	f.Add((&result{job: "j", number: 3, worker: "w", texts: []numbered{{1, []byte("a\n")}, {4, nil}}}).append(nil))
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := parseResult(p)
		if err != nil {
			return
		}
		again, err := parseResult(r.append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(r) {
			t.Fatalf("%v became %v, %v", r, again, err)
		}
	})
}
