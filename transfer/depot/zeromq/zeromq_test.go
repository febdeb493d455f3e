package zeromq

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/zmtp"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
	"github.com/wherry-net/wherry/transfer/pairing"
	"github.com/wherry-net/wherry/transfer/treehash"
)

const testCode = "able-acid-acorn-agent-album-alien-alley-amber"

var (
	sessionKey = sync.OnceValue(func() psk.Key { return NewKey(testCode) })
	contentKey = sync.OnceValue(func() depot.Key {
		c, err := pairing.ParseCode(testCode)
		if err != nil {
			panic(err)
		}
		k, err := depot.NewKey(c)
		if err != nil {
			panic(err)
		}
		return k
	})
)

func testTree(t testing.TB, big int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	r := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]int{"empty": 0, "one": 1, "sub/small": 5000, "sub/deep/more": 1<<20 + 1, "big": big} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		for i := 0; i < size; i += 64 {
			b[i] = byte(r.Uint64())
		}
		if err := os.WriteFile(p, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sameTree(t testing.TB, want, got string) {
	t.Helper()
	list := func(dir string) map[string]string {
		m := map[string]string{}
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			if m[rel] = "dir"; !d.IsDir() {
				b, err := os.ReadFile(p)
				m[rel] = fmt.Sprint(err, string(b))
			}
			return nil
		})
		return m
	}
	a, b := list(want), list(got)
	if len(a) != len(b) {
		t.Errorf("%d entries, want %d", len(b), len(a))
	}
	for name, x := range a {
		if b[name] != x {
			t.Errorf("%s differs", name)
		}
	}
}

// slow is for a machine that stands still now and then: that alone loses no connection.
var slow = zmtp.Options{Handshake: 4 * time.Minute, Silence: 4 * time.Minute}

// test is a sender and what it says.
type test struct {
	*Sender
	t        testing.TB
	tree     string
	received chan Receipt
	left     chan error
	refused  chan error
	summary  chan error
	shared   chan bool
	dialing  sync.Mutex
}

func send(t testing.TB, tree string, o SenderOptions) *test {
	t.Helper()
	x := &test{t: t, tree: tree, received: make(chan Receipt, 100), left: make(chan error, 100), refused: make(chan error, 100), summary: make(chan error, 1), shared: make(chan bool, 1)}
	o.Trace = &SenderTrace{
		Received: func(_ net.Addr, r Receipt) { x.received <- r },
		Left:     func(_ net.Addr, err error) { x.left <- err },
		Refused:  func(_ net.Addr, err error) { x.refused <- err },
		Shared:   func() { x.shared <- true },
	}
	o.Socket = slow
	spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
	if err != nil {
		t.Fatal(err)
	}
	x.Sender, err = Listen(t.Context(), "127.0.0.1:0", sessionKey(), spool, o)
	if err != nil {
		t.Fatal(err)
	}
	src, err := transfer.NewSource([]string{tree}, transfer.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); src.Close(); spool.Close() })
	go func() {
		plan, err := depot.NewPlan(t.Context(), src, depot.PlanOptions{Shared: o.Pattern == Share})
		if err == nil {
			k := contentKey()
			_, err = plan.Leave(t.Context(), &k, x.Sender, depot.LeaveOptions{})
		}
		x.summary <- err
	}()
	return x
}

func (x *test) dial(o ReceiverOptions) *Receiver {
	x.t.Helper()
	x.dialing.Lock()
	defer x.dialing.Unlock()
	o.Socket.Handshake, o.Socket.Silence = slow.Handshake, slow.Silence
	if o.Timeout == 0 {
		o.Timeout = slow.Silence
	}
	r, err := Dial(x.t.Context(), x.Addr().String(), sessionKey(), o)
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

// receive lands everything in a directory, and closes r.
func (x *test) receive(ctx context.Context, r *Receiver, dir string, tr *transfer.Trace) error {
	defer r.Close()
	k := contentKey()
	offer, err := depot.Open(ctx, &k, r, r.Addr(), depot.ReadOptions{Timeout: slow.Silence})
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	result, err := offer.Receive(ctx, transfer.ReceiveOptions{Dir: root, NoSync: true, Trace: tr})
	if err != nil {
		return err
	}
	return r.Done(ctx, Receipt{Files: result.Files, Bytes: result.Bytes})
}

func (x *test) same(dir string) { x.t.Helper(); sameTree(x.t, x.tree, filepath.Join(dir, "tree")) }

// Receivers that are there, that come late, that lose their connections and that are
// stopped and started again all end with the same tree.
func TestPubSub(t *testing.T) {
	x := send(t, testTree(t, 24<<20), SenderOptions{Patience: 50 * time.Millisecond})
	var wg sync.WaitGroup
	land := func(name string, o ReceiverOptions, tr *transfer.Trace) string {
		dir := t.TempDir()
		r := x.dial(o)
		wg.Go(func() {
			if err := x.receive(t.Context(), r, dir, tr); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
		return dir
	}
	var dirs []string
	dirs = append(dirs, land("one", ReceiverOptions{}, nil))
	// All lose their connections, the PUB's included.
	var moved atomic.Int64
	once := sync.OnceFunc(func() {
		x.dialing.Lock() // one that is not yet connected would not try again
		defer x.dialing.Unlock()
		x.mu.Lock()
		for id := range x.peers {
			x.ctrl.Drop(id)
		}
		x.mu.Unlock()
		for id := zmtp.PeerID(1); id < 10_000; id++ {
			x.pub.Drop(id)
		}
	})
	dirs = append(dirs, land("two", ReceiverOptions{}, &transfer.Trace{Moved: func(_ *transfer.Entry, n int) {
		if moved.Add(int64(n)) > 6<<20 {
			once()
		}
	}}))
	// One is stopped half-way and started again.
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var got atomic.Int64
	if err := x.receive(ctx, x.dial(ReceiverOptions{}), dir, &transfer.Trace{Moved: func(_ *transfer.Entry, n int) {
		if got.Add(int64(n)) > 8<<20 {
			stop()
		}
	}}); err == nil {
		t.Error("it was over before it could be stopped")
	}
	stop()
	if err := x.receive(t.Context(), x.dial(ReceiverOptions{}), dir, nil); err != nil {
		t.Error(err)
	}
	dirs = append(dirs, dir)
	wg.Wait()
	dirs = append(dirs, land("late", ReceiverOptions{}, nil))
	wg.Wait()
	for _, dir := range dirs {
		x.same(dir)
	}
	for range dirs {
		if r := <-x.received; r.Files != 5 || r.Failed != 0 {
			t.Errorf("%+v", r)
		}
	}
	if err := <-x.summary; err != nil {
		t.Error(err)
	}
	for len(x.refused) > 0 {
		// One that was stopped may have been about to connect.
		if err := <-x.refused; socket.Kind(err) == nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	}
}

// A PUB that does not wait for a receiver, which then misses what is beyond its window,
// costs requests, and nothing else.
func TestPubDrops(t *testing.T) {
	x := send(t, testTree(t, 24<<20), SenderOptions{Patience: time.Millisecond})
	fast, slow := t.TempDir(), t.TempDir()
	over := make(chan struct{})
	stand := sync.OnceFunc(func() { <-over })
	var wg sync.WaitGroup
	r := x.dial(ReceiverOptions{})
	wg.Go(func() {
		if err := x.receive(t.Context(), r, slow, &transfer.Trace{Moved: func(*transfer.Entry, int) { stand() }}); err != nil {
			t.Error(err)
		}
	})
	err := x.receive(t.Context(), x.dial(ReceiverOptions{}), fast, nil)
	close(over)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	x.same(fast)
	x.same(slow)
}

func TestPair(t *testing.T) {
	x := send(t, testTree(t, 10<<20), SenderOptions{Pattern: Pair})
	dir := t.TempDir()
	r := x.dial(ReceiverOptions{})
	if _, err := Dial(t.Context(), x.Addr().String(), sessionKey(), ReceiverOptions{}); err == nil {
		t.Error("a PAIR has two receivers")
	}
	if err := x.receive(t.Context(), r, dir, nil); err != nil {
		t.Fatal(err)
	}
	x.same(dir)
	if got := <-x.received; got.Files != 5 {
		t.Errorf("%+v", got)
	}
}

func TestStrangers(t *testing.T) {
	x := send(t, testTree(t, 1), SenderOptions{})
	if _, err := Dial(t.Context(), x.Addr().String(), psk.Key{}, ReceiverOptions{}); !errors.Is(err, psk.ErrSecret) {
		t.Error(err)
	}
	s := zmtp.New(zmtp.DEALER, zmtp.Options{Retry: -1})
	defer s.Close()
	if err := s.Connect(t.Context(), x.Addr().String()); err != nil {
		t.Fatal(err)
	}
	_ = s.Send(t.Context(), []byte("hello"))
	if err := <-x.refused; !errors.Is(err, psk.ErrProtocol) {
		t.Error(err)
	}
}

// A sender that ends says so; one that goes is waited for, and no longer than told.
func TestSenderGone(t *testing.T) {
	x := send(t, testTree(t, 1<<20), SenderOptions{})
	stays := x.dial(ReceiverOptions{})
	if err := <-x.summary; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), slow.Silence)
	defer cancel()
	if _, err := stays.Next(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- stays.Done(ctx, Receipt{}) }()
	<-x.received
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = stays.Seek(ctx, 1000)
		_, err := stays.Next(ctx)
		ended <- err
	}()
	x.Finish(ctx)
	if err := <-ended; !errors.Is(err, ErrEnded) {
		t.Error(err)
	}
	stays.Close()

	y := send(t, testTree(t, 1<<20), SenderOptions{})
	away := make(chan error, 10)
	// Its port is somebody else's then, but not of the address that the name has then.
	var gone atomic.Bool
	lookup := func(context.Context, string, string) ([]netip.Addr, error) {
		if gone.Load() {
			return []netip.Addr{netip.MustParseAddr("127.0.0.2")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	_, port, _ := net.SplitHostPort(y.Addr().String())
	r, err := Dial(t.Context(), net.JoinHostPort("sender", port), sessionKey(), ReceiverOptions{
		Timeout: 10 * time.Millisecond,
		Away:    func(err error) { away <- err },
		Socket:  zmtp.Options{Handshake: slow.Handshake, Silence: slow.Silence, Dialer: &socket.Dialer{Lookup: lookup}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	gone.Store(true)
	y.Close()
	if err := <-away; !errors.Is(err, socket.ErrLost) {
		t.Error(err)
	}
	if _, err := r.Next(ctx); err == nil {
		// What had come is still there.
		_ = r.Seek(ctx, 1000)
		_, err = r.Next(ctx)
		if socket.Kind(err) == nil {
			t.Error(err)
		}
	} else if socket.Kind(err) == nil {
		t.Error(err)
	}
}

// Whatever a PUB drops and however answers come, every message is read once, in
// order, and no more than a window is ever kept or under way.
func FuzzAhead(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05"), uint64(1))
	f.Add(bytes.Repeat([]byte{7, 3, 1, 4}, 300), uint64(2))
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		const n = 200
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newAhead()
		published, read := int64(0), int64(0)
		subscribed := false
		var under []int64 // answers on their way
		step := func(what byte) {
			switch what % 6 {
			case 0, 1: // the PUB
				if published < n {
					if subscribed && what&8 == 0 {
						w.published(published, []byte{byte(published)})
					}
					published++
				}
			case 2:
				w.there(published, !subscribed)
			case 3:
				for {
					from, count := w.missing()
					if count == 0 {
						break
					}
					if from+count > published || from < 0 {
						t.Fatalf("it asks for %d of %d, and there are %d", count, from, published)
					}
					for k := range count {
						under = append(under, from+k)
					}
				}
				if !subscribed && w.near() {
					subscribed = true
				}
			case 4:
				if len(under) > 0 {
					i := rng.IntN(len(under))
					w.answer(under[i], []byte{byte(under[i])})
					under = append(under[:i], under[i+1:]...)
				}
			case 5:
				if k, msg := w.next(); msg != nil {
					if k != read || msg[0] != byte(k) {
						t.Fatalf("it reads %d, not %d", k, read)
					}
					read++
				}
			}
			if len(w.have) > window || len(w.asked) > window || len(under) != len(w.asked) {
				t.Fatalf("%d are kept, %d asked for, %d under way", len(w.have), len(w.asked), len(under))
			}
		}
		for _, what := range script[:min(len(script), 5000)] {
			step(what)
		}
		for range 30 * n { // and then nothing is dropped
			for what := range byte(6) {
				step(what)
			}
		}
		if read != n {
			t.Fatalf("%d are read of %d", read, n)
		}
	})
}

// Each file is landed by one receiver; what one takes and does not land, by another.
func TestShare(t *testing.T) {
	tree := testTree(t, 1)
	for i := range 20 {
		b := make([]byte, 2<<20)
		b[0] = byte(i)
		if err := os.WriteFile(filepath.Join(tree, "sub", fmt.Sprint("f", i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	x := send(t, tree, SenderOptions{Pattern: Share})
	k := contentKey()
	open := func(r *Receiver) *depot.Offer {
		t.Helper()
		offer, err := depot.Open(t.Context(), &k, r, r.Addr(), depot.ReadOptions{Timeout: slow.Silence})
		if err != nil {
			t.Fatal(err)
		}
		return offer
	}
	dies := x.dial(ReceiverOptions{})
	var entries []transfer.Entry
	if _, err := open(dies).List(t.Context(), func(e transfer.Entry) error { entries = append(entries, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if i, ok, err := dies.take(t.Context(), len(depot.Portions(entries))); i != 0 || !ok || err != nil {
		t.Fatal(i, ok, err)
	}
	dirs := []string{t.TempDir(), t.TempDir()}
	var wg sync.WaitGroup
	var files atomic.Int64
	for _, dir := range dirs {
		r := x.dial(ReceiverOptions{})
		offer := open(r)
		if !offer.Shared() || r.Pattern() != Share {
			t.Error("it is not shared")
		}
		wg.Go(func() {
			defer r.Close()
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Error(err)
				return
			}
			defer root.Close()
			var once sync.Once
			asked := 0
			result, err := r.Receive(t.Context(), offer, transfer.ReceiveOptions{Dir: root, NoSync: true, Trace: &transfer.Trace{
				Finished: func(*transfer.Entry, treehash.Digest, bool) { once.Do(func() { dies.Close() }) },
			}, Accept: func(_ context.Context, o transfer.Offer) error {
				if asked++; asked > 1 || o.Totals.Files != 25 {
					t.Errorf("asked %d times, about %+v", asked, o.Totals)
				}
				return nil
			}})
			if err == nil {
				err = r.Done(t.Context(), Receipt{Files: result.Files})
			}
			if err != nil {
				t.Error(err)
			}
			files.Add(int64(result.Files))
		})
	}
	wg.Wait()
	<-x.shared
	if files.Load() != 25 {
		t.Errorf("%d files were landed", files.Load())
	}
	all := t.TempDir()
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(dir, p)
			to := filepath.Join(all, rel)
			switch {
			case err != nil:
				return err
			case d.IsDir():
				return os.MkdirAll(to, 0o755)
			}
			if _, err := os.Stat(to); err == nil {
				t.Errorf("%s is at two receivers", rel)
			}
			return os.Rename(p, to)
		})
	}
	x.same(all)
}

// FuzzHear has a receiver that knows the code say anything.
func FuzzHear(f *testing.F) {
	f.Add([]byte("G\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"), []byte("A\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("N\x00\x00\x00\x02"), []byte("F\x00\x00\x00\x01"))
	f.Add([]byte("H\x00\x00\x00\x02"), []byte(`R{"id":"x"}`))
	f.Fuzz(func(t *testing.T, p, q []byte) {
		for _, pattern := range []Pattern{PubSub, Share} {
			s := &Sender{o: SenderOptions{Pattern: pattern, Trace: &SenderTrace{}}, spool: spool{}, sizes: []int32{50, 50, 10}, published: 2,
				ctrl: zmtp.New(zmtp.ROUTER, zmtp.Options{}), peers: map[zmtp.PeerID]*receiver{}, known: map[string]bool{}, changed: make(chan struct{})}
			if pattern == PubSub {
				s.pub = s.ctrl
			}
			s.up(zmtp.Peer{ID: 1})
			comer := psk.NewComer(psk.Key{})
			host, welcome, err := psk.Welcome(psk.Key{}, comer.Hello())
			if err != nil {
				t.Fatal(err)
			}
			peer, err := comer.Welcomed(welcome)
			if err != nil {
				t.Fatal(err)
			}
			s.peers[1].session = host
			for _, m := range [][]byte{p, q} {
				_, _ = s.hear(zmtp.Message{Peer: 1, Frames: [][]byte{peer.Seal(nil, m)}})
			}
			if len(s.shares.state) > maxPortions || s.shares.left < 0 {
				t.Fatal(s.shares.left)
			}
			if s.failed != nil {
				t.Fatal(s.failed)
			}
			s.down(1, nil)
			s.ctrl.Close()
		}
	})
}

type spool struct{}

func (spool) ReadAt(p []byte, at int64) (int, error) {
	if at/depot.MaxMessage > 2 {
		return 0, io.EOF
	}
	return len(p), nil
}

func (spool) WriteAt([]byte, int64) (int, error) { return 0, io.EOF }
