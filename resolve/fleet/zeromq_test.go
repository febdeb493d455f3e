package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/psk"
	"github.com/wherry-net/wherry/socket/sockettest"
	"github.com/wherry-net/wherry/socket/zmtp"
)

const testWords = "eight-words-that-nobody-else-has-ever-drawn"

var testKey = sync.OnceValue(func() psk.Key { return NewZeroMQKey(testWords) })

func listenZeroMQ(t testing.TB, o ZeroMQOptions) *ZeroMQ {
	t.Helper()
	return listenZeroMQOn(t, 0, o)
}

func listenZeroMQOn(t testing.TB, port uint16, o ZeroMQOptions) *ZeroMQ {
	t.Helper()
	o.Key = testKey()
	z, err := ListenZeroMQ(t.Context(), fmt.Sprintf("127.0.0.1:%d", port), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { z.Close() })
	return z
}

func dialZeroMQ(t testing.TB, z *ZeroMQ, o ZeroMQOptions) *ZeroMQWorker {
	t.Helper()
	o.Key = testKey()
	w, err := DialZeroMQ(t.Context(), z.Addr().String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// A worker dies, and all connections break, both in the middle: every name has one
// result, and the worker that is left learns that the list is done.
func TestZeroMQ(t *testing.T) {
	const n = 20_000
	z := listenZeroMQ(t, ZeroMQOptions{})
	server := nameServer(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	one, two := dialZeroMQ(t, z, ZeroMQOptions{Prefetch: 2, Timeout: 5 * time.Minute}), dialZeroMQ(t, z, ZeroMQOptions{Prefetch: 2})
	work := func(w *ZeroMQWorker, name string, end error) {
		if err := Work(t.Context(), w, WorkerOptions{Name: name, Ask: bulk.Options{Servers: []bulk.Server{server}}}); !errors.Is(err, end) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wg.Go(func() { work(one, "one", ErrFinished) })
	wg.Go(func() { work(two, "two", zmtp.ErrClosed) })
	var out bytes.Buffer
	died, broke := false, false
	stats, err := Coordinate(t.Context(), z, strings.NewReader(list(n)), &out, Options{
		Job: "job", Lines: 100, Outstanding: 8, Every: time.Millisecond,
		Progress: func(s Stats) {
			if s.Names > n/8 && !died {
				died = true
				two.Close()
			}
			if s.Names > n/4 && !broke {
				broke = true
				z.mu.Lock()
				for id := range z.workers {
					z.s.Drop(id)
				}
				z.mu.Unlock()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !died || !broke {
		t.Error("it was over before anything could break")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := z.Finish(ctx); err != nil {
		t.Error(err)
	}
	exactlyOnce(t, out.String(), n, false)
	if stats.Names != n || stats.Strange != 0 {
		t.Errorf("%+v", stats)
	}
	t.Logf("%d results came twice", stats.Twice)
}

// Who answers nothing is given what it has asked for and no more, and what it holds
// goes to others when it leaves; what it gives back, at once.
func TestZeroMQCredit(t *testing.T) {
	z := listenZeroMQ(t, ZeroMQOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for i := range 20 {
		if err := z.Send(ctx, "job", fmt.Append(nil, "batch ", i)); err != nil {
			t.Fatal(err)
		}
	}
	take := func(w *ZeroMQWorker) Delivery {
		t.Helper()
		d, err := w.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	slow := dialZeroMQ(t, z, ZeroMQOptions{Prefetch: 3})
	first := take(slow)
	if string(first.Body) != "batch 0" {
		t.Errorf("%q", first.Body)
	}
	fast := dialZeroMQ(t, z, ZeroMQOptions{Prefetch: 1})
	seen := map[string]bool{}
	next := func() Delivery {
		t.Helper()
		d := take(fast)
		if seen[string(d.Body)] {
			t.Errorf("%s came twice", d.Body)
		}
		seen[string(d.Body)] = true
		return d
	}
	var d Delivery
	for i := range 17 { // all but the slow one's
		d = next()
		if i < 16 {
			if err := errors.Join(fast.Send(ctx, "job", d.Body), d.Ack()); err != nil {
				t.Fatal(err)
			}
			if r, err := z.Receive(ctx); err != nil || !bytes.Equal(r.Body, d.Body) {
				t.Fatalf("%q, %v", r.Body, err)
			}
		}
	}
	z.mu.Lock()
	if len(z.pending) != 0 {
		t.Errorf("%d pending", len(z.pending))
	}
	z.mu.Unlock()
	if seen["batch 0"] || seen["batch 1"] || seen["batch 2"] {
		t.Error(seen)
	}
	if err := first.Return(); err != nil {
		t.Fatal(err)
	}
	// It has credit for one again, and is given it back: nobody else has any.
	take(slow)
	take(slow)
	if again := take(slow); string(again.Body) != "batch 0" {
		t.Errorf("%q", again.Body)
	}
	slow.Close()
	_ = d.Ack()
	for range 3 {
		_ = next().Ack()
	}
	if len(seen) != 20 {
		t.Errorf("%d batches", len(seen))
	}
}

func TestZeroMQCoordinatorGone(t *testing.T) {
	z := listenZeroMQOn(t, sockettest.FreePort(t), ZeroMQOptions{}) // which is nobody's when it is gone
	impatient := dialZeroMQ(t, z, ZeroMQOptions{Timeout: -1})
	away := make(chan error, 100)
	patient := dialZeroMQ(t, z, ZeroMQOptions{Timeout: 10 * time.Millisecond, Away: func(err error) { away <- err }})
	z.Close()
	for _, w := range []*ZeroMQWorker{impatient, patient} {
		_, err := w.Receive(t.Context())
		if socket.Kind(err) == nil || !strings.Contains(err.Error(), z.Addr().String()) {
			t.Error(err)
		}
		if err := w.Send(t.Context(), "job", nil); socket.Kind(err) == nil {
			t.Error(err)
		}
	}
	if err := <-away; !errors.Is(err, socket.ErrLost) {
		t.Error(err)
	}
	if _, err := DialZeroMQ(t.Context(), z.Addr().String(), ZeroMQOptions{}); !errors.Is(err, socket.ErrRefused) {
		t.Error(err)
	}
}

// Strangers are refused, and get no names.
func TestZeroMQStrangers(t *testing.T) {
	refused := make(chan error, 100)
	z := listenZeroMQ(t, ZeroMQOptions{Refused: func(_ net.Addr, err error) { refused <- err }})
	if err := z.Send(t.Context(), "job", []byte("secret.example")); err != nil {
		t.Fatal(err)
	}
	if _, err := DialZeroMQ(t.Context(), z.Addr().String(), ZeroMQOptions{Key: psk.Key{}}); !errors.Is(err, psk.ErrSecret) {
		t.Error(err)
	}
	hello := psk.NewComer(testKey()).Hello()
	for _, say := range [][]string{{"hello"}, {string(hello), "C\x00\x00\x00\x01"}, {string(hello), string(hello)}, {strings.Repeat("x", 1000)}, {"two", "frames"}} {
		s := zmtp.New(zmtp.DEALER, zmtp.Options{Retry: -1})
		if err := s.Connect(t.Context(), z.Addr().String()); err != nil {
			t.Fatal(err)
		}
		frames := func(s string) [][]byte { return [][]byte{[]byte(s)} }
		for _, m := range say {
			_ = s.Send(t.Context(), frames(m)...)
		}
		if len(say[0]) < 1000 {
			if err := <-refused; !errors.Is(err, psk.ErrSecret) && !errors.Is(err, psk.ErrProtocol) {
				t.Error(err)
			}
		}
		s.Close()
	}
	// And a true worker gets them.
	d, err := dialZeroMQ(t, z, ZeroMQOptions{}).Receive(t.Context())
	if err != nil || string(d.Body) != "secret.example" {
		t.Errorf("%q, %v", d.Body, err)
	}
}

// FuzzZeroMQ has a worker that knows the code say anything.
func FuzzZeroMQ(f *testing.F) {
	f.Add([]byte("C\x00\x00\x00\x01"), []byte("D\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("Rresult"), []byte("B\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, p, q []byte) {
		z := &ZeroMQ{s: zmtp.New(zmtp.ROUTER, zmtp.Options{}), workers: map[zmtp.PeerID]*zWorker{}}
		defer z.s.Close()
		z.up(zmtp.Peer{ID: 1})
		comer := psk.NewComer(psk.Key{})
		host, welcome, err := psk.Welcome(psk.Key{}, comer.Hello())
		if err != nil {
			t.Fatal(err)
		}
		worker, err := comer.Welcomed(welcome)
		if err != nil {
			t.Fatal(err)
		}
		z.workers[1].session = host
		_ = z.Send(t.Context(), "", []byte("batch"))
		for _, m := range [][]byte{p, q} {
			_, _ = z.hear(zmtp.Message{Peer: 1, Frames: [][]byte{worker.Seal(nil, m)}})
			w := z.workers[1]
			if w.credit < 0 || w.credit+len(w.held) > maxCredit || len(z.pending)+len(w.held) > 1 {
				t.Fatalf("%+v, %d pending", w, len(z.pending))
			}
		}
	})
}

// FuzzZeroMQWorker says to a worker what it likes: it holds no more than it has asked
// for, and so never asks for less than nothing when it connects again.
func FuzzZeroMQWorker(f *testing.F) {
	f.Add([]byte("N\x00\x00\x00\x00\x00\x00\x00\x01batch"), byte(5), byte(2))
	f.Add([]byte("N\x00\x00\x00\x00\x00\x00\x00\x01"), byte(2), byte(0))
	f.Add([]byte("E"), byte(1), byte(0))
	f.Add([]byte("N"), byte(1), byte(0))
	f.Fuzz(func(t *testing.T, p []byte, times, taken byte) {
		w := &ZeroMQWorker{o: ZeroMQOptions{Prefetch: 3}, in: make(chan zDelivery, 3)}
		w.ctx, w.fail = context.WithCancelCause(t.Context())
		defer w.fail(nil)
		for range times {
			err := w.take(nil, bytes.Clone(p))
			if w.held > 3 || err == nil && (len(p) < 9 || p[0] != 'N') {
				t.Fatalf("%d held after %q, %v", w.held, p, err)
			}
			if taken > 0 && len(w.in) > 0 { // still held, but not waiting any more
				taken--
				if d := <-w.in; string(d.body) != string(p[9:]) {
					t.Fatalf("%q of %q", d.body, p)
				}
			}
		}
		if ended := errors.Is(context.Cause(w.ctx), ErrFinished); ended != (times > 0 && string(p) == "E") {
			t.Fatalf("%q: ended %v", p, ended)
		}
	})
}
