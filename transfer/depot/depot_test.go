package depot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

const testCode = "able-acid-acorn-agent-album-alien-alley-amber"

// stretched once: that takes long, by design.
var testKeyOnce = sync.OnceValues(func() (Key, error) {
	c, err := pairing.ParseCode(testCode)
	if err != nil {
		return Key{}, err
	}
	return NewKey(c)
})

func testKey(t testing.TB) *Key {
	t.Helper()
	k, err := testKeyOnce()
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

// A tree has files of all the lengths at which something changes.
func testTree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	r := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]int{
		"empty": 0, "one": 1, "sub/small": 5000, "sub/chunk": ChunkSize, "sub/deep/group": 1 << 20,
		"sub/deep/more": 1<<20 + 1, "big": 9<<20 + 12345, "zzz": 70000,
	} {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, size)
		for i := 0; i+8 <= size; i += 8 {
			v := r.Uint64()
			for k := range 8 {
				b[i+k] = byte(v >> (8 * k))
			}
		}
		copy(b, "the secret content of "+name)
		if err := os.WriteFile(p, b, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "nothing"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/small", filepath.Join(dir, "link")); err != nil {
		t.Logf("without a symbolic link: %v", err)
	}
	return dir
}

func sameTree(t testing.TB, want, got string) {
	t.Helper()
	list := func(dir string) map[string]string {
		m := map[string]string{}
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, _ := filepath.Rel(dir, p)
			info, err := d.Info()
			if err != nil {
				return err
			}
			switch {
			case d.IsDir():
				m[rel] = info.Mode().String()
			case d.Type()&fs.ModeSymlink != 0:
				to, _ := os.Readlink(p)
				m[rel] = "-> " + to
			default:
				b, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				m[rel] = fmt.Sprint(info.Mode(), info.ModTime().UnixNano(), string(b))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	a, b := list(want), list(got)
	for name, x := range a {
		if b[name] != x {
			t.Errorf("%s differs", name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			t.Errorf("%s is left over", name)
		}
	}
}

func plan(t testing.TB, dir string, o PlanOptions) *Plan {
	t.Helper()
	src, err := transfer.NewSource([]string{dir}, transfer.SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	p, err := NewPlan(t.Context(), src, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var testAddr = &net.UnixAddr{Name: "memory", Net: "unix"}

func fetch(ctx context.Context, t testing.TB, log *Memory, dir string, o transfer.ReceiveOptions) (transfer.Result, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o.Dir, o.NoSync = root, true
	f, err := Open(ctx, testKey(t), log.Cursor(), testAddr, ReadOptions{Timeout: time.Millisecond})
	if err != nil {
		return transfer.Result{}, err
	}
	return f.Receive(ctx, o)
}

func TestLeaveAndFetch(t *testing.T) {
	src := testTree(t)
	log := &Memory{Twice: func(n int64) bool { return n%3 == 0 }}
	p := plan(t, src, PlanOptions{})
	sum, err := p.Leave(t.Context(), testKey(t), log, LeaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Files != 8 || sum.Bytes != p.Totals().Bytes || sum.Failed != 0 {
		t.Errorf("%+v", sum)
	}
	for range 2 {
		dir := t.TempDir()
		r, err := fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Files != 8 || r.Peer != "memory" {
			t.Errorf("%+v", r)
		}
		sameTree(t, src, filepath.Join(dir, "tree"))
		// What is there is not fetched again.
		r, err = fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{})
		if err != nil || r.Had != 8 || r.Moved != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	// Nothing of it can be read where it is stored, and all messages but the last
	// are equally long.
	log.Messages(func(msgs [][]byte) {
		long := 0
		for _, m := range msgs {
			for _, clear := range []string{"secret content", "sub/small", "tree/link", "deep/group"} {
				if bytes.Contains(m, []byte(clear)) {
					t.Errorf("%q is stored in the clear", clear)
				}
			}
			if len(m) == MaxMessage {
				long++
			}
			if Number(m) != mark && (len(m)-Overhead)%padding != 0 {
				t.Errorf("a message of %d bytes", len(m))
			}
		}
		if long < len(msgs)-3 {
			t.Errorf("%d of %d messages are full", long, len(msgs))
		}
	})
}

// A sender that dies anywhere and is started again leaves the same, and never seals two
// contents with one nonce; even if the file has changed unnoticed.
func TestSenderContinues(t *testing.T) {
	src := testTree(t)
	dead := errors.New("dead")
	log := &Memory{}
	stop := int64(0)
	runs := 0
	for {
		stop += 7
		log.Fail = func(n int64) error {
			if n != mark && n >= stop {
				return dead
			}
			return nil
		}
		runs++
		sum, err := plan(t, src, PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{})
		if err == nil {
			if sum.Resumed == 0 {
				t.Error("nothing was continued")
			}
			break
		}
		if !errors.Is(err, dead) {
			t.Fatal(err)
		}
	}
	if runs < 3 {
		t.Fatalf("%d runs", runs)
	}
	dir := t.TempDir()
	if _, err := fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{}); err != nil {
		t.Fatal(err)
	}
	sameTree(t, src, filepath.Join(dir, "tree"))
	log.Messages(func(msgs [][]byte) {
		seen := map[string]bool{}
		for _, m := range msgs {
			nonce := string(m[:24])
			if seen[nonce] {
				t.Errorf("a nonce was used twice, for message %d", Number(m))
			}
			seen[nonce] = true
		}
	})
	// Once more: there is nothing to do.
	sum, err := plan(t, src, PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{})
	if err != nil || sum.Resumed == 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	// The code is taken.
	if _, err := plan(t, t.TempDir(), PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{}); !errors.Is(err, ErrOther) {
		t.Errorf("%v", err)
	}
}

// A receiver that dies goes on where it stopped.
func TestReceiverContinues(t *testing.T) {
	src := testTree(t)
	log := &Memory{}
	if _, err := plan(t, src, PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	moved := 0
	_, err := fetch(ctx, t, log, dir, transfer.ReceiveOptions{Trace: &transfer.Trace{Moved: func(e *transfer.Entry, n int) {
		if moved += n; moved > 8<<20 {
			cancel()
		}
	}}})
	if !errors.Is(err, transfer.ErrInterrupted) {
		t.Fatal(err)
	}
	// "big" comes first, and some of it is there.
	r, err := fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{})
	if err != nil || r.Resumed < 1<<20 {
		t.Fatalf("%+v, %v", r, err)
	}
	sameTree(t, src, filepath.Join(dir, "tree"))
}

// Parts of an earlier offer are noticed and fetched anew, and only they.
func TestReceiverHasOther(t *testing.T) {
	src := testTree(t)
	big := filepath.Join(src, "big")
	content, err := os.ReadFile(big)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	content[3<<20+5] ^= 1
	if err := os.WriteFile(filepath.Join(dir, "tree", "big"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	log := &Memory{}
	if _, err := plan(t, src, PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil {
		t.Fatal(err)
	}
	moved := map[string]int{}
	_, err = fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{Overwrite: transfer.OverwriteResume, Trace: &transfer.Trace{Moved: func(e *transfer.Entry, n int) {
		moved[e.Path] += n
	}}})
	if err != nil || moved["tree/big"] != 1<<20 {
		t.Fatalf("%v, %v", moved, err)
	}
	sameTree(t, src, filepath.Join(dir, "tree"))
}

func TestFailures(t *testing.T) {
	src := testTree(t)
	full := func() *Memory {
		log := &Memory{}
		if _, err := plan(t, src, PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil {
			t.Fatal(err)
		}
		return log
	}
	for _, c := range []struct {
		name string
		harm func(l *Memory)
		want error
	}{
		{"nothing", func(l *Memory) { l.msgs = nil }, ErrNoOffer},
		{"cut off", func(l *Memory) { l.msgs = l.msgs[:20] }, &IncompleteError{}},
		{"a mark alone", func(l *Memory) { l.msgs = l.msgs[:1] }, &IncompleteError{}},
		{"beginning dropped", func(l *Memory) { l.Drop(10) }, ErrCut},
		{"a bit", func(l *Memory) { l.msgs[15][1000] ^= 1 }, ErrDamaged},
		{"the number", func(l *Memory) { l.msgs[15][23] ^= 64 }, &IncompleteError{}},
		{"another place", func(l *Memory) { l.msgs[15], l.msgs[16] = l.msgs[16], l.msgs[15] }, &IncompleteError{}},
		{"noise between", func(l *Memory) {
			l.msgs = append(l.msgs[:9:9], append([][]byte{nil, make([]byte, 99)}, l.msgs[9:]...)...)
		}, nil},
		{"too long", func(l *Memory) { l.msgs[15] = append(l.msgs[15], 0) }, &IncompleteError{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := full()
			c.harm(log)
			dir := t.TempDir()
			_, err := fetch(t.Context(), t, log, dir, transfer.ReceiveOptions{})
			switch want := c.want.(type) {
			case *IncompleteError:
				if !errors.As(err, &want) {
					t.Errorf("%v", err)
				}
			default:
				if !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			}
			if c.want == nil {
				sameTree(t, src, filepath.Join(dir, "tree"))
			}
		})
	}
}

// Of what is not there as a whole, the files that are land.
func TestPartOfIt(t *testing.T) {
	log := &Memory{}
	if _, err := plan(t, testTree(t), PlanOptions{}).Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil {
		t.Fatal(err)
	}
	log.msgs = log.msgs[:len(log.msgs)-1]
	r, err := fetch(t.Context(), t, log, t.TempDir(), transfer.ReceiveOptions{})
	if part, ok := errors.AsType[*IncompleteError](err); !ok || part.Have == 0 || part.Have >= part.Of {
		t.Fatalf("%v", err)
	}
	if r.Files < 4 {
		t.Errorf("%+v", r)
	}
}

// A file that cannot be read is told at both ends, and the others arrive.
func TestUnreadable(t *testing.T) {
	src := testTree(t)
	p := plan(t, src, PlanOptions{})
	if err := os.Truncate(filepath.Join(src, "big"), 1000); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(src, "zzz")); err != nil {
		t.Fatal(err)
	}
	log := &Memory{}
	var warned []string
	sum, err := p.Leave(t.Context(), testKey(t), log, LeaveOptions{Trace: &transfer.Trace{Warning: func(path string, why error) { warned = append(warned, path) }}})
	if err != nil || sum.Failed != 2 || sum.Files != 6 || strings.Join(warned, " ") != "tree/big tree/zzz" {
		t.Fatalf("%+v, %v, %v", sum, warned, err)
	}
	r, err := fetch(t.Context(), t, log, t.TempDir(), transfer.ReceiveOptions{})
	if part, ok := errors.AsType[*transfer.IncompleteError](err); !ok || part.Failed != 2 || r.Files != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestKeys(t *testing.T) {
	for _, c := range []struct {
		code string
		good bool
	}{{"17-cedar-otter", false}, {"1-a-b-c-d-e-f-g", false}, {testCode, true}, {strings.ToUpper(testCode), true}, {"12 " + strings.ReplaceAll(testCode, "-", " "), true}} {
		code, err := pairing.ParseCode(c.code)
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewKey(code)
		if c.good != (err == nil) || !c.good && !errors.Is(err, ErrShortCode) {
			t.Errorf("%s: %v", c.code, err)
		}
		if c.good && k != *testKey(t) {
			t.Errorf("%s has another key", c.code)
		}
		if s := fmt.Sprintf("%v %#v %+v", k, k, k); c.good && !strings.Contains(s, "depot key of ") {
			t.Error(s)
		}
	}
	code, err := NewCode()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := NewKey(code); err != nil || len(k.Name()) != 32 || k.Name() == testKey(t).Name() {
		t.Errorf("%v, %v", k, err)
	}
}
