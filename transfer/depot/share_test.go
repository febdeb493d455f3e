package depot

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/transfer"
)

// shareTree has n files of 3 MiB: two portions of them to three files.
func shareTree(t testing.TB, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 3<<20)
	for i := range n {
		for j := 0; j < len(b); j += 4096 {
			b[j], b[j+1] = byte(i), byte(j>>12)
		}
		if err := os.WriteFile(filepath.Join(dir, "sub", fmt.Sprintf("%03d", i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// both is a log and a cursor of its own.
type both struct {
	*Memory
	Cursor
}

func (b both) Seek(ctx context.Context, offset int64) error { return b.Cursor.Seek(ctx, offset) }
func (b both) Next(ctx context.Context) (Message, error)    { return b.Cursor.Next(ctx) }
func newBoth(m *Memory) both                                { return both{m, m.Cursor()} }
func leaveShared(t testing.TB, src string) (*Plan, *Memory, Summary) {
	t.Helper()
	p, log := plan(t, src, PlanOptions{Shared: true}), &Memory{}
	sum, err := p.Leave(t.Context(), testKey(t), log, LeaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p, log, sum
}

// newSteps is a log for them, which is there before the first.
func newSteps() *Memory {
	r := rand.New(rand.NewPCG(1, 2))
	return &Memory{msgs: [][]byte{make([]byte, 99)}, Twice: func(int64) bool { return r.IntN(3) == 0 }}
}

func receiveShare(ctx context.Context, t testing.TB, log Cursor, steps Log, dir, name string, o transfer.ReceiveOptions, so ShareOptions) (transfer.Result, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	o.Dir, o.NoSync = root, true
	f, err := Open(ctx, testKey(t), log, testAddr, ReadOptions{Timeout: time.Second})
	if err != nil {
		return transfer.Result{}, err
	}
	return f.ReceiveShared(ctx, testKey(t), steps, testKey(t).NewReceiver(name), o, so)
}

// spread holds that each of n files is in one of the directories, as it was left.
func spread(t testing.TB, src string, n int, dirs ...string) {
	t.Helper()
	for i := range n {
		name := filepath.Join("sub", fmt.Sprintf("%03d", i))
		want, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		at := 0
		for _, dir := range dirs {
			if got, err := os.ReadFile(filepath.Join(dir, "tree", name)); err == nil {
				at++
				if string(got) != string(want) {
					t.Errorf("%s differs in %s", name, dir)
				}
			}
		}
		if at != 1 {
			t.Errorf("%s is at %d receivers", name, at)
		}
	}
	for _, dir := range dirs {
		left, _ := filepath.Glob(filepath.Join(dir, "tree", "sub", "*.wherry-*"))
		if len(left) > 0 {
			t.Errorf("%q are left over", left)
		}
	}
}

// Three receivers at once have each file once; who comes later, nothing; the sender
// knows.
func TestShared(t *testing.T) {
	const n = 30
	src := shareTree(t, n)
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	late := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		p, log, left := leaveShared(t, src)
		steps := newSteps()
		files := make([]int, len(dirs))
		var wg sync.WaitGroup
		// Each waits with its first until all have one: at once is not up to the machine.
		begun, all := make(chan struct{}, len(dirs)), make(chan struct{})
		go func() {
			defer close(all)
			for range dirs {
				select {
				case <-begun:
				case <-time.After(time.Hour):
					t.Error("not all have something")
					return
				}
			}
		}()
		for i, dir := range dirs {
			wg.Go(func() {
				var once sync.Once
				trace := &transfer.Trace{Moved: func(*transfer.Entry, int) { once.Do(func() { begun <- struct{}{}; <-all }) }}
				r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), dir, dir, transfer.ReceiveOptions{Trace: trace}, ShareOptions{})
				if err != nil {
					t.Error(err)
				}
				files[i] = r.Files
			})
		}
		wg.Wait()
		spread(t, src, n, dirs...)
		if files[0]+files[1]+files[2] != n || files[0] == 0 || files[1] == 0 || files[2] == 0 {
			t.Errorf("%v files", files)
		}
		if r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), late, late, transfer.ReceiveOptions{}, ShareOptions{}); err != nil || r.Files != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		tally := p.NewTally(testKey(t), left)
		steps.Messages(func(msgs [][]byte) {
			for i, m := range msgs {
				if tally.Hear(m) != (i > 0) {
					t.Errorf("message %d", i)
				}
			}
		})
		for i, dir := range dirs {
			if got := tally.Of(testKey(t).NewReceiver(dir)); got != (Landed{Files: files[i], Bytes: int64(files[i]) * 3 << 20}) {
				t.Errorf("%+v of %d", got, files[i])
			}
		}
		if !tally.All() || tally.Missing() != 0 {
			t.Errorf("%d are missing", tally.Missing())
		}
	})
}

// failing is a log for steps whose writer dies, or sleeps.
type failing struct {
	both
	mu    sync.Mutex
	dead  error
	sleep chan struct{}
}

func (f *failing) wait() error {
	f.mu.Lock()
	dead, sleep := f.dead, f.sleep
	f.mu.Unlock()
	if sleep != nil {
		<-sleep
	}
	return dead
}

func (f *failing) Append(ctx context.Context, n int64, msg []byte) error {
	if err := f.wait(); err != nil {
		return err
	}
	return f.both.Append(ctx, n, msg)
}

func (f *failing) Next(ctx context.Context) (Message, error) {
	m, err := f.both.Next(ctx)
	if derr := f.wait(); derr != nil {
		err = derr
	}
	return m, err
}

// The user is asked once, and told of the whole and of what the sender left out.
func TestSharedWhole(t *testing.T) {
	const n = 6
	src := shareTree(t, n)
	if err := os.Symlink("/elsewhere", filepath.Join(src, "link")); err != nil {
		t.Skip("SKIPPED: no symbolic links here")
	}
	synctest.Test(t, func(t *testing.T) {
		_, log, _ := leaveShared(t, src)
		one := t.TempDir()
		var asked []transfer.Totals
		r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(newSteps()), one, one, transfer.ReceiveOptions{Accept: func(_ context.Context, o transfer.Offer) error {
			asked = append(asked, o.Totals)
			return nil
		}}, ShareOptions{})
		if err != nil || r.Files != n || r.Skipped != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if len(asked) != 1 || asked[0].Files != n || asked[0].Skipped != 1 {
			t.Errorf("asked about %+v", asked)
		}
	})
}

// receiveAndDie is a receiver that hears and says nothing any more when so many bytes
// are there.
func receiveAndDie(t testing.TB, log *Memory, steps *Memory, dir string, after int) {
	t.Helper()
	dies := &failing{both: newBoth(steps)}
	moved := 0
	_, err := receiveShare(t.Context(), t, log.Cursor(), dies, dir, dir, transfer.ReceiveOptions{Trace: &transfer.Trace{Moved: func(_ *transfer.Entry, n int) {
		if moved += n; moved >= after {
			dies.mu.Lock()
			dies.dead = errors.New("dead")
			dies.mu.Unlock()
		}
	}}}, ShareOptions{})
	if err == nil {
		t.Fatal("it did not die")
	}
}

// A receiver dies in the middle of its second portion. Another has all but the first,
// after a while; started again the dead one has nothing to do, and tidies up.
func TestSharedDead(t *testing.T) {
	const n = 6
	src := shareTree(t, n)
	synctest.Test(t, func(t *testing.T) {
		_, log, _ := leaveShared(t, src)
		steps := newSteps()
		one, two := t.TempDir(), t.TempDir()
		receiveAndDie(t, log, steps, one, 7<<20)
		began := time.Now()
		others := 0
		r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), two, two, transfer.ReceiveOptions{}, ShareOptions{Others: func(n int) { others = n }})
		if err != nil || r.Files == 0 || r.Files == n || others != 1 {
			t.Errorf("%+v, %v, %d", r, err, others)
		}
		if d := time.Since(began); d < (patience-1)*renew || d > (patience+1)*renew {
			t.Errorf("a dead one was waited for %v", d)
		}
		again, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), one, one, transfer.ReceiveOptions{}, ShareOptions{})
		if err != nil || again.Files != 0 {
			t.Errorf("%+v, %v", again, err)
		}
		left, _ := filepath.Glob(filepath.Join(one, "tree", "sub", "*.wherry-*"))
		if len(left) > 0 {
			t.Errorf("%q are left over", left)
		}
		t.Logf("%d files at the second", r.Files)
	})
}

// Who was killed and is started again goes on at once with what it held.
func TestSharedAgain(t *testing.T) {
	const n = 6
	src := shareTree(t, n)
	synctest.Test(t, func(t *testing.T) {
		_, log, _ := leaveShared(t, src)
		steps := newSteps()
		one := t.TempDir()
		receiveAndDie(t, log, steps, one, 0)
		began := time.Now()
		r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), one, one, transfer.ReceiveOptions{}, ShareOptions{})
		if err != nil || r.Files != n || time.Since(began) > renew {
			t.Errorf("%+v, %v, after %v", r, err, time.Since(began))
		}
		spread(t, src, n, one)
	})
}

// sleeper is a cursor that does something else once.
type sleeper struct {
	Cursor
	after int
	then  func()
}

func (s *sleeper) Next(ctx context.Context) (Message, error) {
	if s.after--; s.after == 0 {
		s.then()
	}
	return s.Cursor.Next(ctx)
}

// Who sleeps while it holds a portion finds out when it wakes, and does not complete it.
func TestSharedAsleep(t *testing.T) {
	const n = 6
	src := shareTree(t, n)
	synctest.Test(t, func(t *testing.T) {
		_, log, _ := leaveShared(t, src)
		steps := newSteps()
		one, two := t.TempDir(), t.TempDir()
		sleepy := &failing{both: newBoth(steps)}
		asleep, wake := make(chan struct{}), make(chan struct{})
		taken := -1
		var wg sync.WaitGroup
		wg.Go(func() {
			content := &sleeper{Cursor: log.Cursor(), after: 5, then: func() {
				sleepy.mu.Lock()
				sleepy.sleep = wake
				sleepy.mu.Unlock()
				close(asleep)
				<-wake
				time.Sleep(time.Second) // what the other has said comes before the rest of the file
			}}
			r, err := receiveShare(t.Context(), t, content, sleepy, one, one, transfer.ReceiveOptions{Timeout: time.Hour}, ShareOptions{Taken: func(files int) { taken = files }})
			if err != nil || r.Files != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
		<-asleep
		r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), two, two, transfer.ReceiveOptions{}, ShareOptions{})
		if err != nil || r.Files != n {
			t.Errorf("%+v, %v", r, err)
		}
		close(wake)
		wg.Wait()
		if taken != 0 {
			t.Errorf("it was told of %d files", taken)
		}
		spread(t, src, n, one, two)
	})
}

// Files that the sender could not read are told by who has their portion; the others
// have receivers.
func TestSharedUnreadable(t *testing.T) {
	const n = 6
	src := shareTree(t, n)
	p := plan(t, src, PlanOptions{Shared: true})
	if err := os.Remove(filepath.Join(src, "sub", "001")); err != nil {
		t.Fatal(err)
	}
	log, steps := &Memory{}, newSteps()
	left, err := p.Leave(t.Context(), testKey(t), log, LeaveOptions{})
	if err != nil || left.Failed != 1 {
		t.Fatalf("%+v, %v", left, err)
	}
	dir := t.TempDir()
	r, err := receiveShare(t.Context(), t, log.Cursor(), newBoth(steps), dir, dir, transfer.ReceiveOptions{}, ShareOptions{})
	if part, ok := errors.AsType[*transfer.IncompleteError](err); !ok || part.Failed != 1 || r.Files != n-1 {
		t.Errorf("%+v, %v", r, err)
	}
	tally := p.NewTally(testKey(t), left)
	steps.Messages(func(msgs [][]byte) {
		for _, m := range msgs {
			tally.Hear(m)
		}
	})
	if !tally.All() || tally.Missing() != 0 {
		t.Errorf("%d are missing", tally.Missing())
	}
}

// What is over is neither given out nor continued.
func TestOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := shareTree(t, 1)
		o := PlanOptions{KeepFor: time.Hour}
		log := &Memory{}
		p := plan(t, src, o)
		if _, err := p.Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Second)
		if _, err := fetch(t.Context(), t, log, t.TempDir(), transfer.ReceiveOptions{}); err != nil {
			t.Error(err)
		}
		again := plan(t, src, o)
		if _, err := again.Leave(t.Context(), testKey(t), log, LeaveOptions{}); err != nil || !again.Until().Equal(p.Until()) {
			t.Errorf("%v, until %v", err, again.Until())
		}
		time.Sleep(time.Second)
		if _, err := fetch(t.Context(), t, log, t.TempDir(), transfer.ReceiveOptions{}); !errors.Is(err, ErrOver) || !errors.Is(err, ErrNoOffer) {
			t.Error(err)
		}
		if _, err := plan(t, src, o).Leave(t.Context(), testKey(t), log, LeaveOptions{}); !errors.Is(err, ErrOver) {
			t.Error(err)
		}
	})
}
