package pairing

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

func mustCode(t testing.TB, s string) Code {
	t.Helper()
	c, err := ParseCode(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tcpPair is a TCP connection over loopback: the dialer's end, the listener's.
func tcpPair(t testing.TB) (dialer, listener net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	dialer, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	listener = <-accepted
	t.Cleanup(func() { dialer.Close(); listener.Close() })
	return dialer, listener
}

type result struct {
	conn *Conn
	err  error
}

// patience is the deadline of handshakes between ends that both do their part: the
// default of ten seconds is for people, and a busy machine may stand still for long.
const patience = 5 * time.Minute

func patient(cfg Config) Config {
	if cfg.Timeout == 0 {
		cfg.Timeout = patience
	}
	return cfg
}

func client(conn net.Conn, code Code, cfg Config) (*Conn, error) {
	return Client(context.Background(), conn, code, patient(cfg))
}

func goClient(conn net.Conn, code Code, cfg Config) chan result {
	ch := make(chan result, 1)
	go func() { c, err := client(conn, code, cfg); ch <- result{c, err} }()
	return ch
}

func goServer(conn net.Conn, code Code, cfg Config) chan result {
	ch := make(chan result, 1)
	go func() { c, err := Server(context.Background(), conn, code, patient(cfg)); ch <- result{c, err} }()
	return ch
}

// paired is a paired connection over loopback TCP.
func paired(t testing.TB) (dialer, listener *Conn) {
	t.Helper()
	d, l := tcpPair(t)
	code := mustCode(t, "17-cedar-otter")
	s := goServer(l, code, Config{Role: Receiver})
	c := goClient(d, code, Config{Role: Sender})
	rc, rs := <-c, <-s
	if rc.err != nil || rs.err != nil {
		t.Fatalf("dialer: %v, listener: %v", rc.err, rs.err)
	}
	return rc.conn, rs.conn
}

func TestPair(t *testing.T) {
	for _, tt := range []struct {
		name             string
		dialer, listener string
		roleD, roleL     Role
		wantD, wantL     error
	}{
		{"same", "17-cedar-otter", "17-cedar-otter", Sender, Receiver, nil, nil},
		{"same, other way", "17-cedar-otter", "17-cedar-otter", Receiver, Sender, nil, nil},
		{"typed otherwise", "Cedar Otter", "17-cedar-otter", Sender, Receiver, nil, nil},
		{"wrong words", "17-cedar-other", "17-cedar-otter", Sender, Receiver, ErrWrongCode, ErrWrongCode},
		{"words swapped", "17-otter-cedar", "17-cedar-otter", Sender, Receiver, ErrWrongCode, ErrWrongCode},
		{"both send", "17-cedar-otter", "17-cedar-otter", Sender, Sender, ErrSameRole, ErrSameRole},
		{"both receive", "17-cedar-otter", "17-cedar-otter", Receiver, Receiver, ErrSameRole, ErrSameRole},
		{"both send, wrong words", "17-cedar-other", "17-cedar-otter", Sender, Sender, ErrWrongCode, ErrWrongCode},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, l := tcpPair(t)
			s := goServer(l, mustCode(t, tt.listener), Config{Role: tt.roleL})
			c := goClient(d, mustCode(t, tt.dialer), Config{Role: tt.roleD})
			rc, rs := <-c, <-s
			if !errors.Is(rc.err, tt.wantD) || !errors.Is(rs.err, tt.wantL) {
				t.Fatalf("dialer: %v, want %v; listener: %v, want %v", rc.err, tt.wantD, rs.err, tt.wantL)
			}
			for _, err := range []error{rc.err, rs.err} {
				if err != nil && (strings.Contains(err.Error(), "cedar") || strings.Contains(err.Error(), "otter")) {
					t.Errorf("the error holds the code: %v", err)
				}
			}
			if tt.wantD != nil {
				return
			}
			go func() { rc.conn.Write([]byte("hello")); rc.conn.CloseWrite() }()
			if got, err := io.ReadAll(rs.conn); err != nil || string(got) != "hello" {
				t.Errorf("listener reads %q, %v", got, err)
			}
			go func() { rs.conn.Write([]byte("world")); rs.conn.CloseWrite() }()
			if got, err := io.ReadAll(rc.conn); err != nil || string(got) != "world" {
				t.Errorf("dialer reads %q, %v", got, err)
			}
			st := rc.conn.ConnectionState()
			if st.Version != tls.VersionTLS13 || st.DidResume || st.NegotiatedProtocol != "wherry/2" {
				t.Errorf("channel: %+v", st)
			}
			if st.CurveID != tls.X25519MLKEM768 {
				t.Errorf("key exchange %v: recorded content is not safe from later computers", st.CurveID)
			}
		})
	}
}

// Over net.Pipe, which has no buffer, no CloseWrite and no address.
func TestPairOverPipe(t *testing.T) {
	d, l := net.Pipe()
	code := mustCode(t, "cedar-otter")
	s := goServer(l, code, Config{Role: Receiver})
	c := goClient(d, code, Config{})
	rc, rs := <-c, <-s
	if rc.err != nil || rs.err != nil {
		t.Fatal(rc.err, rs.err)
	}
	data := bytes.Repeat([]byte("x"), 1<<20)
	go func() { rc.conn.Write(data); rc.conn.Close() }()
	if got, err := io.ReadAll(rs.conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestCertificateSaysNothing(t *testing.T) {
	c, _ := paired(t)
	cert := c.ConnectionState().PeerCertificates[0]
	if s := cert.Subject.String() + cert.Issuer.String(); s != "" || len(cert.DNSNames)+len(cert.IPAddresses) > 0 {
		t.Errorf("the certificate names %q %v", s, cert.DNSNames)
	}
	if y := cert.NotBefore.Year(); y != 1970 {
		t.Errorf("the certificate tells the time: %v", cert.NotBefore)
	}
	other, _ := paired(t)
	if bytes.Equal(cert.RawSubjectPublicKeyInfo, other.ConnectionState().PeerCertificates[0].RawSubjectPublicKeyInfo) {
		t.Error("two listeners have the same key")
	}
}

func TestKeyLog(t *testing.T) {
	d, l := tcpPair(t)
	code := mustCode(t, "cedar-otter")
	var logD, logL bytes.Buffer
	s := goServer(l, code, Config{Role: Receiver, KeyLogWriter: &logL})
	c := goClient(d, code, Config{KeyLogWriter: &logD})
	if rc, rs := <-c, <-s; rc.err != nil || rs.err != nil {
		t.Fatal(rc.err, rs.err)
	}
	for _, label := range []string{"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "} {
		if !strings.Contains(logD.String(), label) || !strings.Contains(logL.String(), label) {
			t.Errorf("no %s in the key log", label)
		}
	}
	if strings.Contains(logD.String(), "cedar") {
		t.Error("the key log holds the code")
	}
}

func TestCancel(t *testing.T) {
	for name, pair := range map[string]func(context.Context, net.Conn, Code, Config) (*Conn, error){"Client": Client, "Server": Server} {
		t.Run(name, func(t *testing.T) {
			d, _ := tcpPair(t)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { _, err := pair(ctx, d, mustCode(t, "x"), Config{}); done <- err }()
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("%v, want context.Canceled", err)
			}
		})
	}
}

func TestVersionMismatch(t *testing.T) {
	code := mustCode(t, "cedar-otter")
	for _, tt := range []struct {
		name   string
		protos []string
		want   error
		text   string
	}{
		{"newer", []string{"wherry/3"}, ErrVersion, "version 2, the peer 3"},
		{"older", []string{"wherry/1"}, ErrVersion, "version 2, the peer 1"},
		{"much newer, and rude", []string{"wherry/\x1b[31m", "wherry/999", "wherry/9999999"}, ErrVersion, "the peer 999"},
		{"a browser", []string{"h2", "http/1.1"}, ErrProtocol, ""},
		{"none", nil, ErrProtocol, ""},
		{"ours without a share", []string{alpn}, ErrProtocol, "no share"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, l := tcpPair(t)
			s := goServer(l, code, Config{})
			tls.Client(d, &tls.Config{NextProtos: tt.protos, InsecureSkipVerify: true}).Handshake()
			r := <-s
			if !errors.Is(r.err, tt.want) || !strings.Contains(r.err.Error(), tt.text) || strings.Contains(r.err.Error(), "\x1b") {
				t.Errorf("the listener says %q", r.err)
			}
			if n := code.secret().guard.Wrong(); n != 0 {
				t.Errorf("%d guesses counted", n)
			}
		})
	}
	t.Run("newer listener", func(t *testing.T) {
		d, l := tcpPair(t)
		cert := certificateWith(t, nil)
		go tls.Server(l, &tls.Config{NextProtos: []string{"wherry/3"}, Certificates: []tls.Certificate{*cert}}).Handshake()
		if r := <-goClient(d, code, Config{}); !errors.Is(r.err, ErrVersion) {
			t.Errorf("the dialer says %v", r.err)
		}
	})
	t.Run("a web server", func(t *testing.T) {
		d, l := tcpPair(t)
		cert := certificateWith(t, nil)
		go tls.Server(l, &tls.Config{Certificates: []tls.Certificate{*cert}}).Handshake()
		if r := <-goClient(d, code, Config{}); !errors.Is(r.err, ErrProtocol) {
			t.Errorf("the dialer says %v", r.err)
		}
	})
}

func TestPlainAgainstPaired(t *testing.T) {
	code := mustCode(t, "cedar-otter")
	t.Run("plain dialer", func(t *testing.T) {
		d, l := tcpPair(t)
		s := goServer(l, code, Config{})
		// More than the listener reads before it knows: the refusal must survive.
		d.Write(append([]byte(preface.Magic), make([]byte, 10000)...))
		got, err := io.ReadAll(d)
		if reason, ok := preface.ParseRefusal(got); !ok || reason != preface.WantCode || len(got) != preface.RefusalLen || err != nil {
			t.Errorf("the plain dialer reads %q, %v", got, err)
		}
		d.Close()
		if r := <-s; !errors.Is(r.err, ErrPeerPlain) {
			t.Errorf("the listener says %v", r.err)
		}
		if code.secret().guard.Wrong() != 0 {
			t.Error("counted as a guess")
		}
	})
	t.Run("plain listener", func(t *testing.T) {
		d, l := tcpPair(t)
		c := goClient(d, code, Config{})
		kind, conn, err := preface.Sniff(l)
		if kind != preface.TLS || err != nil {
			t.Fatalf("Sniff = %v, %v", kind, err)
		}
		preface.Refuse(conn, preface.AmPlain)
		if r := <-c; !errors.Is(r.err, ErrPeerPlain) {
			t.Errorf("the dialer says %v", r.err)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		for _, in := range []string{"GET / HTTP/1.1\r\n\r\n", "WHERRY/2 hello", "\x16\x99", "\x00", strings.Repeat("\xff", 1000)} {
			d, l := tcpPair(t)
			s := goServer(l, code, Config{})
			io.WriteString(d, in)
			d.(*net.TCPConn).CloseWrite()
			if r := <-s; !errors.Is(r.err, ErrProtocol) && !errors.Is(r.err, ErrTruncated) {
				t.Errorf("%q: the listener says %v", in, r.err)
			}
		}
	})
}

func TestHalfCloseAndDeadlines(t *testing.T) {
	d, l := paired(t)
	if err := d.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after CloseWrite the peer reads %d, %v", n, err)
	}
	if _, err := l.Write([]byte("still")); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(d, buf); err != nil || string(buf) != "still" {
		t.Errorf("the other direction: %q, %v", buf, err)
	}
	d.SetReadDeadline(time.Now().Add(-time.Second))
	var ne net.Error
	if _, err := d.Read(buf); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("Read after its deadline: %v", err)
	}
	d.SetReadDeadline(time.Time{})
	go l.Write([]byte("again"))
	if _, err := io.ReadFull(d, buf); err != nil {
		t.Errorf("Read after the deadline was lifted: %v", err)
	}
	// A peer that does not read: the deadline ends the Write, and for good.
	l.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := l.Write(make([]byte, 64<<20)); !errors.As(err, &ne) || !ne.Timeout() {
		t.Errorf("Write to a peer that does not read: %v", err)
	}
	l.SetWriteDeadline(time.Time{})
	if _, err := l.Write([]byte("x")); err == nil {
		t.Error("a Write succeeded after a torn record")
	}
	if d.NetConn() == nil || d.NetConn().LocalAddr().String() != d.LocalAddr().String() {
		t.Error("NetConn is not the connection below")
	}
}

// A deadlineSpy counts the deadlines that are set for writing.
type deadlineSpy struct {
	net.Conn
	set atomic.Int32
}

func (c *deadlineSpy) SetWriteDeadline(t time.Time) error {
	c.set.Add(1)
	return c.Conn.SetWriteDeadline(t)
}

// Close while a Write is stuck must not wait for it. To say goodbye, crypto/tls waits
// up to five seconds behind the Write; it sets a deadline for that, and it is this
// that is looked for, since a busy machine may take as long for anything.
func TestCloseWhileWriting(t *testing.T) {
	for _, size := range []int{1000, 64 << 20} { // stuck when all is sealed, and on the way
		inner, l := net.Pipe()
		spy := &deadlineSpy{Conn: inner}
		code := mustCode(t, "17-cedar-otter")
		s := goServer(l, code, Config{Role: Receiver})
		c := goClient(spy, code, Config{})
		rc, rs := <-c, <-s
		if rc.err != nil || rs.err != nil {
			t.Fatal(rc.err, rs.err)
		}
		d := rc.conn
		done := make(chan error, 1)
		go func() { _, err := d.Write(make([]byte, size)); done <- err }()
		if _, err := io.ReadFull(l, make([]byte, 1)); err != nil { // and no more: the Write is stuck
			t.Fatal(err)
		}
		before := spy.set.Load()
		d.Close()
		if err := <-done; err == nil {
			t.Error("the Write succeeded")
		}
		if spy.set.Load() != before {
			t.Error("Close wanted to say goodbye behind the Write")
		}
	}
}

// An end without close_notify is no end.
func TestTruncation(t *testing.T) {
	d, l := paired(t)
	d.Write([]byte("half a file"))
	d.NetConn().Close() // between two records, as an attacker would
	got, err := io.ReadAll(l)
	if string(got) != "half a file" || !errors.Is(err, ErrTruncated) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v; want ErrTruncated", got, err)
	}
}

// countingConn counts the writes that reach the network.
type countingConn struct {
	net.Conn
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) { c.writes++; return c.Conn.Write(b) }

func TestWritesAreBatched(t *testing.T) {
	d, l := tcpPair(t)
	counter := &countingConn{Conn: d}
	code := mustCode(t, "cedar-otter")
	s := goServer(l, code, Config{Role: Receiver})
	c := goClient(counter, code, Config{})
	rc, rs := <-c, <-s
	if rc.err != nil || rs.err != nil {
		t.Fatal(rc.err, rs.err)
	}
	go io.Copy(io.Discard, rs.conn)
	for _, tt := range []struct{ size, most int }{{1, 1}, {16 << 10, 1}, {100 << 10, 1}, {1 << 20, 5}, {4 << 20, 17}} {
		counter.writes = 0
		if _, err := rc.conn.Write(make([]byte, tt.size)); err != nil {
			t.Fatal(err)
		}
		if counter.writes > tt.most || counter.writes == 0 {
			t.Errorf("%d bytes took %d writes, want at most %d", tt.size, counter.writes, tt.most)
		}
	}
	counter.writes = 0
	if n, err := io.Copy(rc.conn, io.LimitReader(zeros{}, 1<<20)); err != nil || n != 1<<20 || counter.writes > 9 {
		t.Errorf("io.Copy of 1 MiB: %d, %v, %d writes", n, err, counter.writes)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// BenchmarkBulk is the price of encryption: one end writes, the other reads, over
// loopback TCP, with the same sizes.
func BenchmarkBulk(b *testing.B) {
	const size = 1 << 20
	bench := func(b *testing.B, w io.Writer, r io.Reader) {
		b.SetBytes(size)
		done := make(chan error, 1)
		go func() {
			buf := make([]byte, size)
			for n := 0; n < b.N*size; {
				m, err := r.Read(buf)
				if err != nil {
					done <- err
					return
				}
				n += m
			}
			done <- nil
		}()
		data := make([]byte, size)
		b.ResetTimer()
		for range b.N {
			if _, err := w.Write(data); err != nil {
				b.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.Run("paired", func(b *testing.B) {
		d, l := paired(b)
		bench(b, d, l)
	})
	b.Run("crypto-tls-alone", func(b *testing.B) {
		d, l := tcpPair(b)
		cert := certificateWith(b, nil)
		s := tls.Server(l, &tls.Config{Certificates: []tls.Certificate{*cert}})
		go s.Handshake()
		c := tls.Client(d, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			b.Fatal(err)
		}
		bench(b, c, s)
	})
	b.Run("plain", func(b *testing.B) {
		d, l := tcpPair(b)
		bench(b, d, l)
	})
}

func BenchmarkHandshake(b *testing.B) {
	code := mustCode(b, "cedar-otter")
	for b.Loop() {
		d, l := tcpPair(b)
		s := goServer(l, code, Config{Role: Receiver})
		c := goClient(d, code, Config{})
		if rc, rs := <-c, <-s; rc.err != nil || rs.err != nil {
			b.Fatal(rc.err, rs.err)
		}
		d.Close()
		l.Close()
	}
}
