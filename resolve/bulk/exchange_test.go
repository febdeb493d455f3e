package bulk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket/sockettest"
)

// nobody is an Exchanger that fails.
type nobody struct{}

func (nobody) Exchange(context.Context, []byte) ([]byte, error) {
	return nil, errors.New("nobody is there")
}

// slowExchanger answers after a while, or fails.
type slowExchanger struct {
	delay    time.Duration
	failures int // of 10
	now, max atomic.Int32
	asked    atomic.Int32
}

func (s *slowExchanger) Exchange(ctx context.Context, q []byte) ([]byte, error) {
	if n := s.now.Add(1); n > s.max.Load() {
		s.max.Store(n)
	}
	defer s.now.Add(-1)
	n := s.asked.Add(1)
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	switch {
	case int(n%10) >= s.failures:
		return answer(q), nil
	case n%3 == 0:
		return nil, errors.New("connection lost")
	case n%3 == 1:
		return answer(q)[:13], nil // not even the question
	default:
		<-ctx.Done()
		return nil, ctx.Err()
	}
}

func TestExchanger(t *testing.T) {
	const names = 5000
	for _, failures := range []int{0, 3} {
		t.Run(fmt.Sprintf("fails %d of 10", failures), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ex := &slowExchanger{delay: 20 * time.Millisecond, failures: failures}
				var out bytes.Buffer
				stats, err := Run(t.Context(), strings.NewReader(list(names)), &out,
					Options{Servers: []Server{{Name: "test", Exchanger: ex}}, Retries: 40}) // chance must not fail the test
				if err != nil {
					t.Fatal(err)
				}
				checkAll(t, out.Bytes(), names)
				t.Logf("%+v, %d at a time", stats, ex.max.Load())
				if n := ex.max.Load(); n < 64 || n > streamWorkers {
					t.Errorf("%d exchanges at a time", n)
				}
				if failures == 0 && stats.Elapsed > 3*time.Second {
					t.Errorf("took %v", stats.Elapsed)
				}
			})
		})
	}
}

func TestExchangerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		stats, err := Run(t.Context(), strings.NewReader("a..b\n"+list(3)), &out, Options{Retries: 2, Servers: []Server{{Name: "none", Exchanger: nobody{}}}})
		if err != nil {
			t.Fatal(err)
		}
		by := rows(t, out.Bytes())
		if stats.Results != 4 || by["1"][0]["status"] != "MALFORMED" || by["2"][0]["status"] != "NETWORK" || by["4"][0]["status"] != "NETWORK" {
			t.Errorf("%+v\n%s", stats, out.String())
		}
	})
}

func TestQuestion(t *testing.T) {
	name, qtype, err := Question(appendQuery(nil, 7, flagRD, mustName(`a\.b.\000.example`), typeMX, 1232, false))
	if err != nil || name != `a\.b.\000.example.` || qtype != typeMX {
		t.Errorf("%q, %d, %v", name, qtype, err)
	}
	query := appendQuery(nil, 7, flagRD, xExample, typeA, 0, false)
	for n := range query {
		if _, _, err := Question(query[:n]); err == nil {
			t.Errorf("no error for the first %d octets", n)
		}
	}
}

// tcpServer answers on loopback: many queries to a connection, out of order,
// and closing it after some.
func tcpServer(t *testing.T, perConn int) (addr netip.AddrPort, conns *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer c.Close()
				var held [][]byte
				var mu sync.Mutex
				for n := 1; ; n++ {
					var prefix [2]byte
					if _, err := io.ReadFull(c, prefix[:]); err != nil {
						return
					}
					msg := make([]byte, binary.BigEndian.Uint16(prefix[:]))
					if _, err := io.ReadFull(c, msg); err != nil {
						return
					}
					b := answer(msg)
					mu.Lock()
					held = append(held, append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
					for i := len(held) - 1; i >= 0 && (n%3 == 0 || n == perConn); i-- {
						c.Write(held[i])
						held = held[:i]
					}
					mu.Unlock()
					if n == perConn {
						return
					}
					if n%3 != 0 { // nothing may follow: do not hold these for ever
						time.AfterFunc(time.Millisecond, func() {
							mu.Lock()
							defer mu.Unlock()
							for _, h := range held {
								c.Write(h)
							}
							held = nil
						})
					}
				}
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), conns
}

func TestTCP(t *testing.T) {
	for _, perConn := range []int{1 << 30, 50, 2} {
		t.Run(fmt.Sprintf("closes after %d", perConn), func(t *testing.T) {
			names := min(2000, 40*perConn)
			addr, conns := tcpServer(t, perConn)
			ex := &TCP{Addr: addr}
			defer ex.Close()
			var out bytes.Buffer
			stats, err := Run(t.Context(), strings.NewReader(list(names)), &out, Options{Servers: []Server{{Addr: addr, Exchanger: ex}}, Concurrency: 20, Timeout: 5 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			checkAll(t, out.Bytes(), names)
			t.Logf("%d connections, %+v", conns.Load(), stats)
			if most := 4 + 2*names/perConn; int(conns.Load()) > most {
				t.Errorf("%d connections, want at most %d", conns.Load(), most)
			}
		})
	}
}

func TestTCPGivesUp(t *testing.T) {
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), sockettest.FreePort(t))
	l, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	ex := &TCP{Addr: addr}
	defer ex.Close()
	query := appendQuery(nil, 7, flagRD, xExample, typeA, 0, false)
	// Who sees first that the time is over, and in what, does not matter.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := ex.Exchange(ctx, query); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a server that is silent: %v", err)
	}
	l.Close()
	ex = &TCP{Addr: addr}
	if _, err := ex.Exchange(t.Context(), query); !isRefused(err) {
		t.Errorf("a server that is not there: %v", err)
	}
	if _, err := ex.Exchange(t.Context(), query[:5]); err == nil {
		t.Error("sent a query of 5 octets")
	}
}

// dialTo dials one server whatever the address.
func dialTo(addr netip.AddrPort) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr.String())
	}
}
