package resolve_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/wherry-net/wherry/resolve/dnssec"
	"github.com/wherry-net/wherry/resolve/internal/rpl"
	"github.com/wherry-net/wherry/resolve/iterate"
)

// TestScenario replays recorded scenarios: the scenario's servers in memory,
// its date as the clock. The files are not part of this repository; they lie in
// the folder that WHERRY_SCENARIOS names, by default dns-scenarios beside it.
func TestScenario(t *testing.T) {
	for _, file := range scenarioFiles(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			if err := playFile(file, t.Logf); err != nil {
				t.Error(err)
			}
		})
	}
}

// scenarioFloor is how many of the scenarios in the default folder must pass.
// It only ever rises.
const scenarioFloor = 94

// TestScenarioFloor is what continuous integration holds on to, while single
// scenarios may still fail visibly in TestScenario.
func TestScenarioFloor(t *testing.T) {
	if os.Getenv("WHERRY_SCENARIOS") != "" {
		t.Skip("the floor is for the default folder")
	}
	passed := 0
	files := scenarioFiles(t)
	for _, file := range files {
		if err := playFile(file, nil); err != nil {
			t.Logf("%s: %v", filepath.Base(file), err)
			continue
		}
		passed++
	}
	t.Logf("%d of %d scenarios pass", passed, len(files))
	if passed < scenarioFloor {
		t.Errorf("%d scenarios pass; the floor is %d", passed, scenarioFloor)
	}
}

func scenarioFiles(t *testing.T) []string {
	dir := os.Getenv("WHERRY_SCENARIOS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "dns-scenarios")
	} else if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", dir) // relative to the root, not to this package
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.rpl"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Skipf("SKIPPED: no scenarios in %s; set WHERRY_SCENARIOS", dir)
	}
	sort.Strings(files)
	return files
}

// memory is the scenario's servers as the resolver's network.
type memory struct{ *rpl.Network }

func (m memory) Exchange(_ context.Context, server netip.AddrPort, q *dns.Msg, tr iterate.Transport) (*dns.Msg, time.Duration, error) {
	return m.Answer(server, q, tr == iterate.TCP)
}

func playFile(file string, logf func(string, ...any)) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := rpl.Parse(f)
	if err != nil {
		return err
	}
	net := &rpl.Network{Scenario: s, Log: logf}
	now := s.Config.Date
	opts, err := scenarioOptions(s)
	if err != nil {
		return err
	}
	opts.Exchanger, opts.Now = memory{net}, func() time.Time { return now }
	r := iterate.New(opts)
	var last *dns.Msg
	for _, st := range s.Steps {
		net.Step = st.ID
		switch st.What {
		case "TIME_PASSES":
			now = now.Add(st.Elapse)
		case "QUERY":
			if st.Entry == nil || len(st.Entry.Msg.Question) == 0 {
				return fmt.Errorf("step %d: nothing to ask", st.ID)
			}
			last = serve(r, st.Entry, logf)
		case "CHECK_ANSWER":
			if last == nil {
				return fmt.Errorf("step %d: nothing was asked", st.ID)
			}
			if err := check(st.Entry, last); err != nil {
				return fmt.Errorf("step %d: %w", st.ID, err)
			}
		}
	}
	return nil
}

func scenarioOptions(s *rpl.Scenario) (iterate.Options, error) {
	c := s.Config
	o := iterate.Options{
		Seed: 1, NoMinimise: !c.Minimise, MinimiseBy: dns.TypeNS, NoIPv4: c.NoIPv4, NoIPv6: c.NoIPv6,
		AnyGlue: c.AnyGlue, MinTTL: c.MinTTL, MaxTTL: c.MaxTTL, Unsigned: c.Unsigned,
	}
	o.NoLoopback = !c.Localhost
	for _, z := range c.Zones {
		for _, a := range z.Addrs {
			o.NoLoopback = o.NoLoopback && !a.Addr().IsLoopback()
		}
		if z.Name == "." && !z.Forward {
			for i, a := range z.Addrs {
				o.Hints = append(o.Hints, iterate.Hint{Name: fmt.Sprintf("root%d.", i), Addrs: []netip.AddrPort{a}})
			}
			continue
		}
		o.Stubs = append(o.Stubs, iterate.Stub{Zone: z.Name, Servers: z.Addrs, Forward: z.Forward})
	}
	if len(c.Anchors) == 0 {
		o.NoAnchors = true
		return o, nil
	}
	var err error
	o.Anchors, err = dnssec.ParseAnchors(strings.NewReader(strings.Join(c.Anchors, "\n")+"\n"), "trust-anchor")
	return o, err
}

// serve answers a client's query as a recursive server does.
func serve(r *iterate.Resolver, e *rpl.Entry, logf func(string, ...any)) *dns.Msg {
	q := e.Msg.Question[0]
	m := new(dns.Msg)
	m.SetReply(e.Msg)
	m.RecursionDesired, m.CheckingDisabled = e.Msg.RecursionDesired, e.Msg.CheckingDisabled
	m.RecursionAvailable = true
	res, err := r.Lookup(context.Background(), q.Name, q.Qtype, iterate.LookupOptions{CheckingDisabled: m.CheckingDisabled})
	if logf != nil {
		logf("%s %s: %s, %s, error %v", q.Name, dns.Type(q.Qtype), dns.RcodeToString[res.Rcode], res.Verdict, err)
	}
	m.Rcode, m.Answer = res.Rcode, res.Answer
	if res.Verdict.State == dnssec.Bogus {
		m.Rcode, m.Answer = dns.RcodeServerFailure, nil
	}
	if !e.DO {
		m.Answer = slices.DeleteFunc(slices.Clone(m.Answer), func(rr dns.RR) bool {
			return rr.Header().Rrtype == dns.TypeRRSIG && q.Qtype != dns.TypeRRSIG && q.Qtype != dns.TypeANY
		})
	}
	m.AuthenticatedData = res.Verdict.State == dnssec.Secure && m.Rcode != dns.RcodeServerFailure &&
		(e.DO || e.Msg.AuthenticatedData)
	return m
}

// check compares what its MATCH names of rcode, flags, question and answer.
func check(want *rpl.Entry, got *dns.Msg) error {
	all := slices.Contains(want.Match, "all")
	on := func(w string) bool { return all || slices.Contains(want.Match, w) }
	w := want.Msg
	if on("rcode") && w.Rcode != got.Rcode {
		return fmt.Errorf("rcode %s, want %s", dns.RcodeToString[got.Rcode], dns.RcodeToString[w.Rcode])
	}
	if on("flags") {
		if a, b := flags(got), flags(w); a != b {
			return fmt.Errorf("flags%s, want%s", a, b)
		}
	}
	if on("question") || on("qname") {
		if len(w.Question) == 0 || !strings.EqualFold(dns.Fqdn(w.Question[0].Name), got.Question[0].Name) {
			return fmt.Errorf("question %v", got.Question)
		}
	}
	if on("answer") {
		if a, b := lines(got.Answer), lines(w.Answer); !slices.Equal(a, b) {
			return fmt.Errorf("answer:\n%s\nwant:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
		}
	}
	return nil
}

func flags(m *dns.Msg) string {
	s := ""
	for _, f := range []struct {
		on   bool
		name string
	}{{m.Response, " QR"}, {m.Authoritative, " AA"}, {m.Truncated, " TC"}, {m.RecursionDesired, " RD"},
		{m.RecursionAvailable, " RA"}, {m.AuthenticatedData, " AD"}, {m.CheckingDisabled, " CD"}} {
		if f.on {
			s += f.name
		}
	}
	return s
}

// lines is a section as a sorted set, without TTLs.
func lines(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		c := dns.Copy(rr)
		c.Header().Ttl = 0
		out = append(out, strings.ToLower(c.String()))
	}
	sort.Strings(out)
	return slices.Compact(out)
}
