package transfer

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A rendezvous is a listening end with Sessions and how to dial it.
type rendezvous struct {
	ln       net.Listener
	sessions *Sessions
	dialed   atomic.Int32
	wrap     func(n int32, c net.Conn) net.Conn // of the dialed connections; may be nil
}

func newRendezvous(t testing.TB) *rendezvous {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return &rendezvous{ln: ln, sessions: &Sessions{}}
}

func (m *rendezvous) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", m.ln.Addr().String())
	if n := m.dialed.Add(1); err == nil && m.wrap != nil {
		c = m.wrap(n, c)
	}
	return c, err
}

// serve accepts the first connection for the caller and joins all others.
func (m *rendezvous) serve(ctx context.Context, wg *sync.WaitGroup) (first net.Conn, err error) {
	if first, err = m.ln.Accept(); err != nil {
		return nil, err
	}
	wg.Go(func() {
		for {
			c, err := m.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = m.sessions.Join(ctx, c) })
		}
	})
	return first, nil
}

// streamed runs one transfer over several connections; the sender dials, or the
// receiver.
func streamed(t testing.TB, m *rendezvous, src *Source, dir string, senderDials bool, so SendOptions, ro ReceiveOptions) (o outcome) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	ro.Dir = root
	so.Timeout, ro.Timeout = calmTimeout, calmTimeout // that one is silent is not what is tested
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	var wg, ends sync.WaitGroup
	if senderDials {
		so.Redial, ro.Sessions = m.dial, m.sessions
	} else {
		ro.Redial, so.Sessions = m.dial, m.sessions
	}
	conn := func(dials bool) (net.Conn, error) {
		if dials {
			return m.dial(ctx)
		}
		return m.serve(ctx, &wg)
	}
	ends.Go(func() {
		c, err := conn(senderDials)
		if o.sendErr = err; err == nil {
			o.sent, o.sendErr = Send(ctx, c, src, so)
		}
	})
	ends.Go(func() {
		c, err := conn(!senderDials)
		if o.getErr = err; err == nil {
			o.got, o.getErr = Receive(ctx, c, ro)
		}
	})
	ends.Wait()
	m.ln.Close()
	cancel()
	wg.Wait()
	return o
}

func streamsTree(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tree")
	write(t, dir+"/large", pattern(10*treehash.GroupSize+17), 0o644, old)
	write(t, dir+"/sub/large", pattern(3*treehash.GroupSize), 0o600, old)
	for _, n := range []string{"a", "b", "sub/c"} {
		write(t, dir+"/"+n, pattern(5000), 0o644, old)
	}
	return dir
}

func TestStreams(t *testing.T) {
	tree := streamsTree(t)
	src, err := NewSource([]string{tree}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	want := describe(t, filepath.Dir(tree))
	for name, c := range map[string]struct {
		senderDials   bool
		send, receive int
		dialed        int32
	}{
		"four, the sender dials":   {true, 4, 4, 4},
		"four, the receiver dials": {false, 4, 4, 4},
		"the smaller number":       {true, 8, 3, 3},
		"only one end says":        {false, 0, 2, 2},
		"one end says one":         {true, 1, 8, 1},
		"nobody says":              {true, 0, 0, 1},
		"more than there may be":   {true, 100, 100, MaxStreams},
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), newRendezvous(t)
			o := streamed(t, m, src, dir, c.senderDials, SendOptions{Streams: c.send}, ReceiveOptions{Streams: c.receive})
			o.mustWork(t)
			sameTree(t, want, describe(t, dir))
			if o.sent.Moved != o.got.Moved || o.sent.Moved != o.sent.Bytes {
				t.Errorf("sent %d, received %d of %d bytes", o.sent.Moved, o.got.Moved, o.sent.Bytes)
			}
			// The last ones may be late for so little content.
			if n := m.dialed.Load(); n > c.dialed || n < 1 {
				t.Errorf("%d connections, want at most %d", n, c.dialed)
			}
		})
	}
}

// A gate lets nothing be written to a connection before it opens, once what the
// hello needs has passed.
type gate struct {
	net.Conn
	free int
	open <-chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	if g.free -= len(p); g.free < 0 {
		<-g.open
	}
	return g.Conn.Write(p)
}

// Content really goes over all connections: the first one passes nothing of it
// before the others have carried most.
func TestStreamsShareContent(t *testing.T) {
	tree := streamsTree(t)
	src, err := NewSource([]string{tree}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dir, m := t.TempDir(), newRendezvous(t)
	open := make(chan struct{})
	m.wrap = func(n int32, c net.Conn) net.Conn {
		if n == 1 {
			return &gate{Conn: c, free: 4096, open: open}
		}
		return c
	}
	moved := int64(0)
	so := SendOptions{Streams: 3, Trace: &Trace{Moved: func(_ *Entry, n int) {
		if before := moved; before < 8*treehash.GroupSize {
			if moved += int64(n); moved >= 8*treehash.GroupSize {
				close(open)
			}
		}
	}}}
	streamed(t, m, src, dir, true, so, ReceiveOptions{}).mustWork(t)
	sameTree(t, describe(t, filepath.Dir(tree)), describe(t, dir))
}

// A cutter breaks a connection after so many bytes were written to it.
type cutter struct {
	net.Conn
	left atomic.Int64
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left.Add(-int64(len(p))) < 0 {
		c.Conn.Close()
	}
	return c.Conn.Write(p)
}

// A stream that is lost is a lost connection: all begin again, and what has
// landed is not sent twice.
func TestStreamsLost(t *testing.T) {
	tree := streamsTree(t)
	src, err := NewSource([]string{tree}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for name, cut := range map[string]int32{"the first": 1, "another": 3} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), newRendezvous(t)
			m.wrap = func(n int32, c net.Conn) net.Conn {
				if n != cut {
					return c
				}
				k := &cutter{Conn: c}
				k.left.Store(2 * treehash.GroupSize)
				return k
			}
			lost := 0
			o := streamed(t, m, src, dir, true, SendOptions{Streams: 4, Trace: &Trace{Lost: func(error) { lost++ }}}, ReceiveOptions{NoSync: true})
			o.mustWork(t)
			sameTree(t, describe(t, filepath.Dir(tree)), describe(t, dir))
			// Small machines may finish before the stream has carried so much.
			if lost > 0 && m.dialed.Load() < 5 {
				t.Errorf("%d connections after a loss", m.dialed.Load())
			}
		})
	}
}

// streamHello is what a stream says first.
func streamHello(r role, id sessionID, token streamToken) []byte {
	h := hello{Min: minVersion, Max: maxVersion, Role: r, Features: featureRanges | featureStream, Session: id, extended: true, Token: token}
	return appendFrame([]byte(preface.Magic+"H"), frameHello, h.encode())
}

// A hostile sender that has begun a transfer: its first connection, and what the
// receiver's hello said.
type hostileFleet struct {
	t      *testing.T
	m      *rendezvous
	main   net.Conn
	id     sessionID
	theirs hello
	used   chan string // the addresses of streams that the receiver takes
}

// alive sends pings until c is closed: whatever else is wrong, it is not silent.
func alive(c net.Conn) {
	ping := appendFrame(nil, framePing, nil)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := c.Write(ping); err != nil {
			return
		}
	}
}

func (h *hostileFleet) hello(c net.Conn, b []byte) hello {
	h.t.Helper()
	_, _ = c.Write(b)
	_ = c.SetReadDeadline(time.Now().Add(calmTimeout))
	_, _ = io.CopyN(io.Discard, c, int64(len(preface.Magic)+1))
	typ, n, err := readFrameHeader(c)
	if err != nil || typ != frameHello {
		h.t.Errorf("no hello: %v %v", typ, err)
		return hello{}
	}
	p := make([]byte, n)
	_, _ = io.ReadFull(c, p)
	theirs, err := decodeHello(p)
	if err != nil {
		h.t.Error(err)
	}
	return theirs
}

// join opens a stream with the session and token; it returns what the receiver
// says after its hello, or "" when it uses the stream.
func (h *hostileFleet) join(id sessionID, token streamToken) (net.Conn, string) {
	h.t.Helper()
	c, err := net.Dial("tcp", h.m.ln.Addr().String())
	if err != nil {
		h.t.Error(err)
		return nil, ""
	}
	h.t.Cleanup(func() { c.Close() })
	h.hello(c, streamHello(roleSender, id, token))
	go alive(c)
	said := make(chan string, 1)
	go func() { said <- h.said(c) }()
	for {
		select {
		case s := <-said:
			return c, s
		case addr := <-h.used:
			if addr == c.LocalAddr().String() {
				return c, ""
			}
		}
	}
}

// said is the error that comes next over c.
func (h *hostileFleet) said(c net.Conn) string {
	_ = c.SetReadDeadline(time.Now().Add(calmTimeout))
	for {
		typ, n, err := readFrameHeader(c)
		if err != nil {
			return "closed"
		}
		p := make([]byte, n)
		_, _ = io.ReadFull(c, p)
		if typ == frameError {
			return decodeError(p).Error()
		}
	}
}

func TestHostileStreams(t *testing.T) {
	const size = 12 * treehash.GroupSize
	content := pattern(size)
	group := func(i int) []byte { return content[i*treehash.GroupSize:][:treehash.GroupSize] }
	asked := func(h *hostileFleet) {
		for typ := framePing; typ != frameDecisionsEnd; {
			var n int
			var err error
			if typ, n, err = readFrameHeader(h.main); err != nil {
				h.t.Error(err)
				return
			}
			_, _ = io.CopyN(io.Discard, h.main, int64(n))
		}
	}
	for name, c := range map[string]struct {
		attack func(h *hostileFleet)
		check  func(err error) bool // of the receiver's error
	}{
		"a wrong token": {func(h *hostileFleet) {
			wrong := h.theirs.Token
			wrong[15] ^= 1
			for _, k := range []streamToken{wrong, {}, newToken()} {
				if _, said := h.join(h.id, k); !strings.Contains(said, "belongs to no transfer") {
					h.t.Errorf("with the token %x: %q", k, said)
				}
			}
		}, nil},
		"a stream of another session": {func(h *hostileFleet) {
			if _, said := h.join(sessionID{9}, h.theirs.Token); !strings.Contains(said, "belongs to no transfer") {
				h.t.Errorf("it said %q", said)
			}
		}, nil},
		"the token that another connection was told": {func(h *hostileFleet) {
			c, err := net.Dial("tcp", h.m.ln.Addr().String())
			if err != nil {
				h.t.Error(err)
				return
			}
			defer c.Close()
			// What a stranger who says hello is told opens nothing.
			stranger := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Session: sessionID{7}, extended: true}
			told := h.hello(c, appendFrame([]byte(preface.Magic+"H"), frameHello, stranger.encode())).Token
			if told == h.theirs.Token {
				h.t.Error("a stranger was told the transfer's token")
			}
			if _, said := h.join(h.id, told); !strings.Contains(said, "belongs to no transfer") {
				h.t.Errorf("it said %q", said)
			}
		}, nil},
		"too many streams": {func(h *hostileFleet) {
			for range 2 { // three were agreed on
				if _, said := h.join(h.id, h.theirs.Token); said != "" {
					h.t.Errorf("it said %q", said)
				}
			}
			if _, said := h.join(h.id, h.theirs.Token); !strings.Contains(said, "belongs to no transfer") {
				h.t.Errorf("it said %q", said)
			}
		}, nil},
		"one group over two streams": {func(h *hostileFleet) {
			a, _ := h.join(h.id, h.theirs.Token)
			_, _ = a.Write(new(wire).data(0, 0, group(0)).bytes())
			_, _ = h.main.Write(new(wire).data(0, 0, group(0)).bytes())
			_, _ = io.Copy(io.Discard, h.main) // until the receiver has had enough
		}, isProtocol},
		"content outside the file": {func(h *hostileFleet) {
			a, _ := h.join(h.id, h.theirs.Token)
			_, _ = a.Write(new(wire).data(0, size, group(0)).bytes())
			_, _ = io.Copy(io.Discard, h.main) // until the receiver has had enough
		}, func(err error) bool { return errors.As(err, new(*EntryError)) }},
		"a manifest on a stream": {func(h *hostileFleet) {
			a, _ := h.join(h.id, h.theirs.Token)
			_, _ = a.Write(appendFrame(nil, frameManifest, nil))
			_, _ = io.Copy(io.Discard, h.main) // until the receiver has had enough
		}, isProtocol},
		"a finish that tells of too many streams": {func(h *hostileFleet) {
			_, _ = h.main.Write(appendFrame(nil, frameFinish, []byte{200}))
			_, _ = io.Copy(io.Discard, h.main) // until the receiver has had enough
		}, isProtocol},
		"a finish with more on a stream": {func(h *hostileFleet) {
			a, _ := h.join(h.id, h.theirs.Token)
			_, _ = h.main.Write(appendFrame(nil, frameFinish, nil))
			for i := range 12 { // lands, or comes too late; nothing worse
				_, _ = a.Write(new(wire).data(0, int64(i)*treehash.GroupSize, group(i)).bytes())
			}
			_, _ = io.Copy(io.Discard, h.main) // until the receiver has had enough
		}, isProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newRendezvous(t)
			dir := t.TempDir()
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var wg sync.WaitGroup
			got := make(chan error, 1)
			h := &hostileFleet{t: t, m: m, id: sessionID{1, 2, 3}, used: make(chan string, MaxStreams)}
			trace := &Trace{Stream: func(c net.Conn) func() { h.used <- c.RemoteAddr().String(); return nil }}
			wg.Go(func() {
				c, err := m.serve(ctx, &wg)
				if err == nil {
					_, err = Receive(ctx, c, ReceiveOptions{Dir: root, Sessions: m.sessions, Streams: 3, Timeout: calmTimeout, NoSync: true, Trace: trace})
				}
				got <- err
			})
			if h.main, err = net.Dial("tcp", m.ln.Addr().String()); err != nil {
				t.Fatal(err)
			}
			first := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Features: featureRanges, Session: h.id, extended: true, Streams: 3}
			h.theirs = h.hello(h.main, appendFrame([]byte(preface.Magic+"H"), frameHello, first.encode()))
			if h.theirs.Token == (streamToken{}) || h.theirs.Streams != 3 {
				t.Fatalf("the receiver's hello: %+v", h.theirs)
			}
			_, _ = h.main.Write(newManifestBytes(Entry{Path: "f", Kind: File, Size: size, Mode: 0o644}))
			go alive(h.main)
			asked(h)
			c.attack(h)
			h.main.Close()
			if c.check == nil {
				cancel()
			}
			err = <-got
			if c.check != nil && !c.check(err) {
				t.Errorf("receive: %v", err)
			}
			cancel()
			m.ln.Close()
			wg.Wait()
			for p := range describe(t, dir) {
				if !strings.HasSuffix(p, partSuffix) && !strings.HasSuffix(p, journalSuffix) {
					t.Errorf("%s was left", p)
				}
			}
		})
	}
}

func isProtocol(err error) bool { return errors.As(err, new(*ProtocolError)) }

// newManifestBytes is a whole manifest as frames.
func newManifestBytes(entries ...Entry) []byte {
	var b []byte
	var sum uint64
	for _, e := range entries {
		b = e.append(b)
		sum += uint64(e.Size)
	}
	out := appendFrame(nil, frameManifest, b)
	return appendFrame(out, frameManifestEnd, manifestEnd{Entries: uint64(len(entries)), Bytes: sum}.encode())
}

// Streams are dialed beside the first connection, which is told to who dials them;
// Redial is for those that are lost.
func TestStreamsBesideFirst(t *testing.T) {
	src, err := NewSource([]string{streamsTree(t)}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, senderDials := range []bool{true, false} {
		m := newRendezvous(t)
		var beside, addr atomic.Int32
		stream := func(ctx context.Context, first net.Conn) (net.Conn, error) {
			beside.Add(1)
			if first.RemoteAddr().String() == m.ln.Addr().String() {
				addr.Add(1)
			}
			return m.dial(ctx)
		}
		o := streamed(t, m, src, t.TempDir(), senderDials, SendOptions{Streams: 3, DialStream: stream}, ReceiveOptions{NoSync: true, DialStream: stream})
		o.mustWork(t)
		if n := beside.Load(); n > 2 || addr.Load() != n || m.dialed.Load() != n+1 {
			t.Errorf("%d streams, %d beside the first connection, %d connections", n, addr.Load(), m.dialed.Load())
		}
	}
}
