//go:build unix

package rabbit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
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
	first := dial(t, b.URL, newKey(t), Options{}).Content(true)
	if err := errors.Join(first.Append(t.Context(), 0, nil), first.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	b.Settle()
	k := newKey(t)
	src, p := newPlan(t, 24<<20)
	s := dial(t, b.URL, k, Options{KeepFor: time.Hour, Timeout: time.Minute})
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
		if _, err := receive(t.Context(), t, dial(t, b.URL, k, Options{Timeout: time.Minute}), k, dir, trace); err != nil {
			t.Fatal(err)
		}
		same(t, src, dir)
	}
	stored := int64(0)
	err := filepath.WalkDir(b.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		c, err := os.ReadFile(path)
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
	r := dial(t, b.URL, k, Options{})
	if err := r.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := receive(t.Context(), t, r, k, t.TempDir(), nil); !errors.Is(err, depot.ErrNoOffer) {
		t.Errorf("%v", err)
	}
}

// A full disk or memory: it is told, waited for, and then an error; or all goes on.
func TestBrokerFull(t *testing.T) {
	b := brokertest.Start(t)
	k := newKey(t)
	_, p := newPlan(t, 24<<20)
	reasons := make(chan string, 9)
	s := dial(t, b.URL, k, Options{Timeout: time.Second, Blocked: func(reason string) { reasons <- reason }})
	b.Control("set_vm_memory_high_watermark", "absolute", "1")
	if _, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{}); !errors.Is(err, ErrBlocked) {
		t.Fatalf("%v", err)
	}
	<-reasons
	s = dial(t, b.URL, k, Options{Timeout: time.Minute, Blocked: func(reason string) {
		if reason != "" {
			go b.Control("set_vm_memory_high_watermark", "0.4")
		}
	}})
	if _, err := p.Leave(t.Context(), k, s.Content(true), depot.LeaveOptions{}); err != nil {
		t.Fatal(err)
	}
}
