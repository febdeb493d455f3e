//go:build unix

package rabbit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/broker/brokertest"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/depot"
)

func newKey(t testing.TB) *depot.Key {
	t.Helper()
	c, err := depot.NewCode()
	if err != nil {
		t.Fatal(err)
	}
	k, err := depot.NewKey(c)
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

func dial(t testing.TB, url string, k *depot.Key, o Options) *Rabbit {
	t.Helper()
	u, err := broker.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Dial(t.Context(), u, k, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// patience is for a broker of which the test expects that it answers.
const patience = 4 * time.Minute

// A tree of n bytes in two files, and its plan.
func newPlan(t testing.TB, n int) (dir string, p *depot.Plan) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "classified-directory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte("classified content, and more of it; "), n/36+1)[:n]
	for i := 0; i < n; i += 4096 {
		content[i] = byte(i >> 12)
		content[i+1] = byte(i >> 20)
	}
	for _, name := range []string{"classified-large", "classified-small"} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
		content = content[:n/10]
	}
	src, err := transfer.NewSource([]string{dir}, transfer.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	p, err = depot.NewPlan(t.Context(), src, depot.PlanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func receive(ctx context.Context, t testing.TB, r *Rabbit, k *depot.Key, dir string, trace *transfer.Trace) (transfer.Result, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	f, err := depot.Open(ctx, k, r.Content(false), r.Addr(), depot.ReadOptions{})
	if err != nil {
		return transfer.Result{}, err
	}
	return f.Receive(ctx, transfer.ReceiveOptions{Dir: root, NoSync: true, Trace: trace})
}

func same(t testing.TB, src, dir string) {
	t.Helper()
	for _, name := range []string{"classified-large", "classified-small"} {
		a, err1 := os.ReadFile(filepath.Join(src, name))
		b, err2 := os.ReadFile(filepath.Join(dir, filepath.Base(src), name))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v, %v", name, err1, err2)
		}
	}
}

// The broker is killed while the sender sends and while a receiver receives; both go
// on. What it has stored tells nothing.
func TestBrokerKilled(t *testing.T) {
	b := brokertest.Start(t)
	first := dial(t, b.URL, newKey(t), Options{Timeout: patience}).Content(true)
	if err := errors.Join(first.Append(t.Context(), 0, nil), first.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.Settle()
	k := newKey(t)
	src, p := newPlan(t, 24<<20)
	s := dial(t, b.URL, k, Options{KeepFor: time.Hour, Timeout: patience})
	kill := func(after int) *transfer.Trace {
		moved := 0
		return &transfer.Trace{Moved: func(_ *transfer.Entry, n int) {
			if was := moved; was < after && was+n >= after {
				b.Kill()
				b.Start()
			}
			moved += n
		}}
	}
	if _, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{Trace: kill(12 << 20)}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, trace := range []*transfer.Trace{kill(12 << 20), nil} {
		dir := t.TempDir()
		if _, err := receive(t.Context(), t, dial(t, b.URL, k, Options{Timeout: patience}), k, dir, trace); err != nil {
			t.Fatal(err)
		}
		same(t, src, dir)
	}
	stored := int64(0)
	err := filepath.WalkDir(b.Dir(), func(path string, d fs.DirEntry, err error) error {
		var c []byte
		if err == nil && d.Type().IsRegular() {
			c, err = os.ReadFile(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the broker works there, and this was of the moment
		}
		if bytes.Contains(c, []byte("classified")) {
			t.Errorf("%s tells what was left", path)
		}
		stored += int64(len(c))
		return err
	})
	if err != nil || stored < p.Stored() {
		t.Errorf("%d bytes are stored, and %d were left: %v", stored, p.Stored(), err)
	}

	// Once removed there is nothing.
	r := dial(t, b.URL, k, Options{Timeout: patience})
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(t.Context(), t, r, k, t.TempDir(), nil); !errors.Is(err, depot.ErrNoOffer) {
		t.Errorf("%v", err)
	}
}

// A forwarder stands for a host of a cluster.
type forwarder struct {
	ln    net.Listener
	mu    sync.Mutex
	conns []net.Conn
	gone  bool
}

func forward(t testing.TB, to string) *forwarder {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{ln: ln}
	t.Cleanup(func() { ln.Close(); f.vanish() })
	go func() {
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			f.mu.Lock()
			if err != nil || f.gone {
				a.Close()
				if err == nil {
					b.Close()
				}
				f.mu.Unlock()
				continue
			}
			f.conns = append(f.conns, a, b)
			f.mu.Unlock()
			go func() { _, _ = io.Copy(a, b); a.Close(); b.Close() }()
			go func() { _, _ = io.Copy(b, a); a.Close(); b.Close() }()
		}
	}()
	return f
}

func (f *forwarder) connected() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns) > 0
}

// vanish ends all connections, and from then on each at once. The port remains taken, or
// it would be somebody else's.
func (f *forwarder) vanish() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
	for _, c := range f.conns {
		c.Close()
	}
}

// Of several hosts the dead are skipped, and one that vanishes in the middle is replaced
// by another.
func TestHosts(t *testing.T) {
	b := brokertest.Start(t)
	to := strings.TrimSuffix(strings.TrimPrefix(b.URL, "amqp://guest:guest@"), "/")
	// Nobody listens where a connection to elsewhere comes from.
	elsewhere, err := net.Dial("tcp", forward(t, to).ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	dead := elsewhere.LocalAddr().String()
	gone := forward(t, to)
	gone.vanish()
	k := newKey(t)
	src, p := newPlan(t, 24<<20)
	hosts := func(fs ...*forwarder) string {
		names := []string{dead}
		for _, f := range fs {
			names = append(names, f.ln.Addr().String())
		}
		return "amqp://guest:guest@" + strings.Join(names, ",") + "/"
	}
	lose := func(fs ...*forwarder) *transfer.Trace {
		moved := 0
		return &transfer.Trace{Moved: func(_ *transfer.Entry, n int) {
			if was := moved; was < 12<<20 && was+n >= 12<<20 {
				for _, f := range fs {
					if f.connected() {
						f.vanish()
						break
					}
				}
			}
			moved += n
		}}
	}
	one, two := forward(t, to), forward(t, to)
	lost := 0
	s := dial(t, hosts(gone, one, two), k, Options{Timeout: patience, Away: func(err error) {
		if err != nil {
			lost++
		}
	}})
	if _, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{Trace: lose(one, two)}); err != nil || lost == 0 {
		t.Fatalf("%v, and the connection was lost %d times", err, lost)
	}
	three, four := forward(t, to), forward(t, to)
	dir := t.TempDir()
	if _, err := receive(t.Context(), t, dial(t, hosts(three, gone, four), k, Options{Timeout: patience}), k, dir, lose(three, four)); err != nil {
		t.Fatal(err)
	}
	same(t, src, dir)
}

// patiently has f try with a timeout of a second, and with longer ones while the broker,
// on a busy machine, has not said within it that it takes nothing.
func patiently(f func(timeout time.Duration) error) (err error) {
	for timeout := time.Second; timeout <= 64*time.Second; timeout *= 4 {
		if err = f(timeout); !errors.Is(err, ErrAway) {
			return err
		}
	}
	return err
}

// A full disk, or memory: it is told, waited for, and then an error; or all goes on.
func TestBrokerFull(t *testing.T) {
	b := brokertest.Start(t)
	for _, c := range []struct {
		name       string
		full, free string // what has the broker's monitor notice
	}{
		{"memory", "vm_memory_monitor:set_vm_memory_high_watermark({absolute, 1})", "vm_memory_monitor:set_vm_memory_high_watermark(0.4)"},
		{"disk", "rabbit_disk_monitor:set_disk_free_limit(1000000000000000)", "rabbit_disk_monitor:set_disk_free_limit(1000000)"},
	} {
		// The monitors are off where the broker cannot find out how much there is; the
		// alarm is raised all the same. To ask for the alarms waits until it is.
		alarm := "{resource_limit, " + c.name + ", node()}"
		full := func() {
			b.Control("eval", c.full+", case lists:keymember("+alarm+", 1, rabbit_alarm:get_alarms()) of true -> ok; false -> rabbit_alarm:set_alarm({"+alarm+", []}), rabbit_alarm:get_alarms() end.")
		}
		free := func() {
			b.Control("eval", c.free+", rabbit_alarm:clear_alarm("+alarm+"), rabbit_alarm:get_alarms().")
		}
		t.Run(c.name, func(t *testing.T) {
			k := newKey(t)
			src, p := newPlan(t, 24<<20)
			reasons := make(chan string, 9)
			told := func(reason string) {
				select {
				case reasons <- reason:
				default:
				}
			}
			s := dial(t, b.URL, k, Options{Timeout: time.Second, Blocked: told})
			full()
			err := patiently(func(timeout time.Duration) error {
				if timeout > time.Second {
					s = dial(t, b.URL, k, Options{Timeout: timeout, Blocked: told})
				}
				_, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{})
				return err
			})
			if !errors.Is(err, ErrBlocked) {
				t.Fatalf("%v", err)
			}
			if reason := <-reasons; !strings.Contains(reason, c.name) {
				t.Errorf("the reason is %q", reason)
			}
			var freeing sync.WaitGroup
			var waited atomic.Int32
			s = dial(t, b.URL, k, Options{Timeout: patience, Blocked: func(reason string) {
				if reason != "" {
					waited.Add(1)
					freeing.Go(free)
				}
			}})
			if _, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{}); err != nil {
				t.Fatal(err)
			}
			freeing.Wait()
			if waited.Load() == 0 {
				t.Error("it was not told that it waits")
			}
			// Who receives does not mind; only the receipt cannot be left.
			full()
			dir := t.TempDir()
			if _, err := receive(t.Context(), t, dial(t, b.URL, k, Options{Timeout: patience}), k, dir, nil); err != nil {
				t.Fatal(err)
			}
			same(t, src, dir)
			err = patiently(func(timeout time.Duration) error {
				log := dial(t, b.URL, k, Options{Timeout: timeout}).Receipts(true)
				return errors.Join(log.Append(t.Context(), 0, []byte("receipt")), log.Flush(t.Context()))
			})
			if !errors.Is(err, ErrBlocked) {
				t.Errorf("%v", err)
			}
			free()
		})
	}
}

// A broker is silent when it has been asked all the time, not when this process stood
// still; and a connection that is lost again and again does not make it sooner.
func TestOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Log{r: &Rabbit{o: Options{Timeout: 10 * time.Second}}}
		g.moved()
		for range 100 { // lost, and lost
			if g.overdue() {
				t.Fatal("at once")
			}
		}
		time.Sleep(time.Hour)
		if g.overdue() {
			t.Error("when it stood still")
		}
		for i := range beats - 1 {
			time.Sleep(time.Second - time.Millisecond)
			if g.overdue() {
				t.Errorf("after %d s", i)
			}
			time.Sleep(time.Millisecond)
			if got := g.overdue(); got != (i == beats-2) {
				t.Errorf("after %d s: %t", i+1, got)
			}
		}
		g.moved()
		if g.overdue() {
			t.Error("when it has moved")
		}
	})
}
