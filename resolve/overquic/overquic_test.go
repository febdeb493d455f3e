package overquic_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/wherry-net/wherry/resolve"
	"github.com/wherry-net/wherry/resolve/dnstest"
	"github.com/wherry-net/wherry/resolve/overquic"
	"github.com/wherry-net/wherry/socket/sockettest"
)

// answer is what the servers of this test say: one TXT record, for names that
// begin with "big" one of 4 KB, and nothing at all for "silent".
func answer(query []byte) []byte {
	m := new(dns.Msg)
	if m.Unpack(query) != nil {
		return nil
	}
	name := m.Question[0].Name
	text := strings.Repeat(`"short" `, 1)
	if strings.HasPrefix(name, "big") {
		text = strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 17)
	}
	return dnstest.Answer(query, nil, name+" 60 IN TXT "+text)
}

// patient is for a server on a machine that may stall.
var patient = &quic.Config{HandshakeIdleTimeout: time.Minute, MaxIdleTimeout: 10 * time.Minute}

// silent counts the queries that doqServer has kept silent about.
var silent atomic.Int32

// doqServer speaks RFC 9250 and checks that the client does.
func doqServer(t *testing.T, certs *dnstest.Certs, spoil func([]byte) []byte) netip.AddrPort {
	t.Helper()
	ln, err := quic.ListenAddr("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certs.TLS}, NextProtos: []string{"doq"}}, patient)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			wg.Go(func() {
				for {
					s, err := c.AcceptStream(context.Background())
					if err != nil {
						return
					}
					wg.Go(func() {
						b, err := io.ReadAll(s) // the query ends with the stream
						if err != nil {
							return
						}
						if len(b) < 14 || int(binary.BigEndian.Uint16(b)) != len(b)-2 || b[2] != 0 || b[3] != 0 {
							t.Errorf("not a DoQ query: %x", b)
							return
						}
						if strings.Contains(string(b), "\x06silent") {
							silent.Add(1)
							return
						}
						a := answer(b[2:])
						if spoil != nil {
							a = spoil(a)
						}
						s.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
						s.Close()
					})
				}
			})
		}
	})
	return ln.Addr().(*net.UDPAddr).AddrPort()
}

func h3Server(t *testing.T, certs *dnstest.Certs) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/dns-query", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/dns-message" || len(b) < 12 || b[0]|b[1] != 0 {
			t.Errorf("not a DoH query: %s %q %x", r.Method, r.Header, b)
			return
		}
		w.Header().Set("Content-Type", "application/dns-message")
		w.Write(answer(b))
	})
	s := &http3.Server{Handler: mux, QUICConfig: patient, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{certs.TLS}})}
	done := make(chan struct{})
	go func() { s.Serve(pc); close(done) }()
	t.Cleanup(func() { s.Close(); pc.Close(); <-done })
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestQUIC(t *testing.T) {
	certs := dnstest.NewCerts(t)
	for scheme, addr := range map[string]netip.AddrPort{"quic": doqServer(t, certs, nil), "h3": h3Server(t, certs)} {
		t.Run(scheme, func(t *testing.T) {
			u, err := resolve.ParseUpstream(scheme + "://" + addr.String())
			if err != nil {
				t.Fatal(err)
			}
			// No query is sent again within a minute.
			o := resolve.Options{Transports: overquic.Transports(), TLS: &tls.Config{RootCAs: certs.Pool}, Timeout: 3 * time.Minute}
			r := &resolve.Resolver{Servers: []resolve.Upstream{u}, Options: o}
			defer r.Close()
			for i, name := range []string{"one.example.", "big.example."} {
				res := r.Resolve(context.Background(), resolve.Query{Name: name, Type: dns.TypeTXT})
				if res.Outcome != resolve.Found {
					t.Fatalf("%s: %v", name, res.Err)
				}
				if res.Reused != (i > 0) || string(res.Transport) != scheme || res.Remote != addr.String() {
					t.Errorf("%s: reused %v, over %s from %q", name, res.Reused, res.Transport, res.Remote)
				}
				if i == 1 && len(res.Wire) < 4096 {
					t.Errorf("%s: %d octets", name, len(res.Wire))
				}
				if res.Msg.Id == 0 && res.Wire[0]|res.Wire[1] == 0 {
					t.Errorf("%s: the query's ID was not put back", name)
				}
			}
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					res := r.Resolve(context.Background(), resolve.Query{Name: fmt.Sprintf("n%d.example.", i), Type: dns.TypeTXT})
					if res.Outcome != resolve.Found || !res.Reused {
						t.Errorf("%d: %s, %v, reused %v", i, res.Outcome, res.Err, res.Reused)
					}
				})
			}
			wg.Wait()

			untrusting := o
			untrusting.TLS = nil
			c := resolve.NewClient(u, &untrusting)
			defer c.Close()
			_, err = c.Query(context.Background(), resolve.Query{Name: "one.example."})
			var verify *tls.CertificateVerificationError
			if !errors.As(err, &verify) {
				t.Errorf("unknown authority: %v", err)
			}
			other := u
			other.AuthName = "other.test"
			c = resolve.NewClient(other, &o)
			defer c.Close()
			_, err = c.Query(context.Background(), resolve.Query{Name: "one.example."})
			var host x509.HostnameError
			if !errors.As(err, &host) {
				t.Errorf("wrong name: %v", err)
			}
			named := u
			named.AuthName = "dns.test"
			c = resolve.NewClient(named, &o)
			defer c.Close()
			if _, err := c.Query(context.Background(), resolve.Query{Name: "one.example."}); err != nil {
				t.Errorf("right name: %v", err)
			}
		})
	}
}

// TestServerIsReal shows that the server of this test is one that somebody
// else's client understands too.
func TestServerIsReal(t *testing.T) {
	kdig := dnstest.Tool(t, "kdig")
	certs := dnstest.NewCerts(t)
	a := doqServer(t, certs, nil)
	out, err := exec.Command(kdig, "@127.0.0.1", "-p", fmt.Sprint(a.Port()), "+tls-ca="+certs.CAFile, "+tls-host=dns.test", "+quic", "+timeout=60", "one.example.", "TXT", "+short").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != `"short"` {
		t.Errorf("kdig +quic: %v\n%s", err, out)
	}
}

func TestQUICFaults(t *testing.T) {
	certs := dnstest.NewCerts(t)
	ask := func(a netip.AddrPort, name string, d time.Duration) error {
		u := resolve.Upstream{Scheme: resolve.QUIC, Host: "127.0.0.1", Port: a.Port()}
		c := resolve.NewClient(u, &resolve.Options{Transports: overquic.Transports(), TLS: &tls.Config{RootCAs: certs.Pool}})
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), d)
		defer cancel()
		_, err := c.Query(ctx, resolve.Query{Name: name, Type: dns.TypeTXT})
		return err
	}
	good := doqServer(t, certs, nil)
	// A machine that is too slow to ask in that time has to be given more.
	before := silent.Load()
	for d := 300 * time.Millisecond; silent.Load() == before; d *= 4 {
		if d > 2*time.Minute {
			t.Fatal("the server was never asked")
		}
		if err := ask(good, "silent.example.", d); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("silence: %v", err)
		}
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"an ID":            func(b []byte) []byte { b[1] = 7; return b },
		"another question": func(b []byte) []byte { b[13] ^= 1; return b },
		"garbage":          func(b []byte) []byte { return b[:20] },
		"nothing":          func(b []byte) []byte { return nil },
	} {
		if err := ask(doqServer(t, certs, spoil), "one.example.", 2*time.Minute); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	// Nobody is there.
	free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	if err := ask(free, "one.example.", 500*time.Millisecond); err == nil {
		t.Error("an answer from nobody")
	}
}
