package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// The soak repeats transfers that are disturbed in every way that it knows until
// they succeed, and holds them to what a user trusts in: a final name never has
// anything but the whole file, nothing else is left but parts and journals, and
// after enough attempts all is there. WHERRY_SEED chooses the disturbances; the
// seed of a run is printed.

// A cutConn breaks when so many bytes were written.
type cutConn struct {
	*net.TCPConn
	left atomic.Int64
}

func (c *cutConn) Write(p []byte) (int, error) {
	left := c.left.Add(-int64(len(p)))
	if left >= 0 {
		return c.TCPConn.Write(p)
	}
	n, _ := c.TCPConn.Write(p[:max(0, left+int64(len(p)))])
	_ = c.SetLinger(0)
	c.Close()
	return n, net.ErrClosed
}

func cut(c net.Conn, rng *rand.Rand, most int64) net.Conn {
	k := &cutConn{TCPConn: c.(*net.TCPConn)}
	k.left.Store(1 + rng.Int64N(most))
	return k
}

// A fullDisk has room for so many bytes.
type fullDisk struct {
	lander
	left atomic.Int64
}

func (d *fullDisk) target(ctx context.Context, e *Entry, o Overwrite) (target, map[int64]treehash.CV, error) {
	t, have, err := d.lander.target(ctx, e, o)
	if err != nil {
		return t, have, err
	}
	return &fullTarget{t, d}, have, nil
}

func (d *fullDisk) commit(batch []finished) {
	for i := range batch {
		if t, ok := batch[i].in.out.(*fullTarget); ok {
			batch[i].in.out = t.target
		}
	}
	d.lander.commit(batch)
}

type fullTarget struct {
	target
	d *fullDisk
}

func (t *fullTarget) writeAt(p []byte, offset int64) error {
	if t.d.left.Add(-int64(len(p))) < 0 {
		_ = t.target.writeAt(p[:len(p)/2], offset)
		return &fs.PathError{Op: "write", Path: "part", Err: syscall.ENOSPC}
	}
	return t.target.writeAt(p, offset)
}

// soakTimeout is for transfers that are disturbed: whoever waits for a peer that
// will not come back waits so long. That a starved machine looks like a peer that
// is gone is one more disturbance there. A transfer that is left in peace must
// succeed, however slow the machine is, and has calmTimeout.
const (
	soakTimeout = 900 * time.Millisecond
	calmTimeout = 5 * time.Minute
	soakBudget  = 3 * time.Minute // after which no further transfer is begun; all take 20 s on two cores
)

// TestSoakEnd is one end of a transfer as a process of its own, to be killed.
func TestSoakEnd(t *testing.T) {
	end, addr, path := os.Getenv("WHERRY_SOAK_END"), os.Getenv("WHERRY_SOAK_ADDR"), os.Getenv("WHERRY_SOAK_PATH")
	dial := func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", addr) }
	switch end {
	case "send":
		src, err := NewSource([]string{path}, SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = Send(t.Context(), conn, src, SendOptions{Timeout: soakTimeout, Redial: dial})
		if err != nil {
			t.Fatal(err)
		}
	case "receive":
		root, err := os.OpenRoot(path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Receive(t.Context(), conn, ReceiveOptions{Dir: root, Timeout: soakTimeout, Redial: dial, NoSync: true}); err != nil {
			t.Fatal(err)
		}
	default:
		t.Skip("run by TestSoak")
	}
}

type soak struct {
	t    *testing.T
	rng  *rand.Rand
	tree string
	want map[string]string
	dst  string
	sum  *tally
}

type tally struct{ cuts, kills, fulls, stops, retries atomic.Int64 }

func TestSoak(t *testing.T) {
	seed := soakSeed(t)
	t.Logf("WHERRY_SEED=%d", seed)
	n := 200
	if testing.Short() {
		n = 25
	}
	// Most of the time is spent waiting for peers that do not come back.
	const workers = 8
	// A machine that gives this test a hundredth of its time would not be through
	// with all of them when `go test` loses patience with the package.
	enough := time.Now().Add(soakBudget)
	goOn := func(i int) bool {
		return i < workers || os.Getenv("WHERRY_SEED") != "" || time.Now().Before(enough)
	}
	var done atomic.Int64
	var sum tally
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			t.Run(strconv.Itoa(w), func(t *testing.T) {
				for i := w; i < n && !t.Failed() && goOn(i); i += workers {
					s := soak{t: t, sum: &sum, rng: rand.New(rand.NewPCG(seed, uint64(i))), tree: filepath.Join(t.TempDir(), "tree"), dst: t.TempDir()}
					s.grow()
					s.want = describe(t, filepath.Dir(s.tree))
					s.transfer(i)
					done.Add(1)
					_ = os.RemoveAll(s.tree)
					_ = os.RemoveAll(s.dst)
				}
			})
		})
	}
	wg.Wait()
	if t.Failed() {
		t.Fatalf("again with WHERRY_SEED=%d", seed)
	}
	t.Logf("%d of %d transfers: %d cut connections, %d ends killed, %d stopped, %d full disks; %d runs beyond the first", done.Load(), n,
		sum.cuts.Load(), sum.kills.Load(), sum.stops.Load(), sum.fulls.Load(), sum.retries.Load())
}

// soakSeed is WHERRY_SEED, or one that is always the same: what a machine at work
// makes of it differs enough from run to run.
func soakSeed(t *testing.T) uint64 {
	s := os.Getenv("WHERRY_SEED")
	if s == "" {
		return 1
	}
	seed, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

// grow makes a tree with small files, some groups' worth, and one that has a
// journal.
func (s *soak) grow() {
	for i := range 3 + s.rng.IntN(40) {
		write(s.t, fmt.Sprintf("%s/d%d/f%d", s.tree, i%4, i), pattern(s.rng.IntN(20000)), 0o644, old)
	}
	write(s.t, s.tree+"/medium", pattern(s.rng.IntN(3<<20)), 0o644, old)
	write(s.t, s.tree+"/large", pattern(4<<20+s.rng.IntN(8<<20)), 0o644, old)
}

// transfer runs until all has arrived. After some disturbed runs it is left in
// peace, and must succeed then.
func (s *soak) transfer(i int) {
	const disturbed = 4
	for try := range disturbed + 1 {
		peace := try == disturbed
		var err error
		if !peace && s.rng.IntN(12) == 0 {
			err = s.killed()
		} else {
			err = s.inside(peace)
		}
		got := describe(s.t, s.dst)
		for p, text := range got {
			part := strings.HasSuffix(p, partSuffix) || strings.HasSuffix(p, journalSuffix)
			switch want, ok := s.want[p]; {
			case part && err == nil:
				s.t.Errorf("transfer %d left %s behind", i, p)
			case part || ok && strings.HasPrefix(text, "d"):
			case !ok:
				s.t.Errorf("transfer %d: %s is litter", i, p)
			case text != want:
				s.t.Errorf("transfer %d: %s is %s, want %s", i, p, text, want)
			}
		}
		if err == nil {
			sameTree(s.t, s.want, got)
			return
		}
		if peace {
			s.t.Errorf("transfer %d, undisturbed: %v", i, err)
		}
		s.sum.retries.Add(1)
	}
}

// inside runs one transfer between two goroutines.
func (s *soak) inside(peace bool) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer ln.Close()
	src, err := NewSource([]string{s.tree}, SourceOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer src.Close()
	root, err := os.OpenRoot(s.dst)
	if err != nil {
		s.t.Fatal(err)
	}
	defer root.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), calmTimeout)
	defer cancel()
	timeout := soakTimeout
	if peace {
		timeout = calmTimeout
	}

	cuts := 0
	if !peace {
		cuts = s.rng.IntN(4)
	}
	dials := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	accepts := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	var dialing sync.Mutex // streams are dialed side by side
	dial := func(ctx context.Context) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		dialing.Lock()
		defer dialing.Unlock()
		if err == nil && cuts > 0 {
			cuts--
			s.sum.cuts.Add(1)
			return cut(c, dials, 12<<20), nil
		}
		return c, err
	}
	ro := ReceiveOptions{Dir: root, Timeout: timeout, NoSync: s.rng.IntN(8) > 0}
	so := SendOptions{Timeout: timeout}
	so.Streams = 1 + s.rng.IntN(4)
	ro.Streams = so.Streams
	if !peace && s.rng.IntN(6) == 0 {
		s.sum.fulls.Add(1)
		room := s.rng.Int64N(8 << 20)
		ro.wrap = func(l lander) lander {
			d := &fullDisk{lander: l}
			d.left.Store(room)
			return d
		}
	}
	sessions := &Sessions{}
	sendDials := s.rng.IntN(2) == 0
	sctx, rctx := ctx, ctx
	if !peace && s.rng.IntN(5) == 0 {
		s.sum.stops.Add(1)
		stop, cancel := context.WithTimeout(ctx, time.Duration(s.rng.IntN(30))*time.Millisecond)
		defer cancel()
		if s.rng.IntN(2) == 0 {
			sctx = stop
		} else {
			rctx = stop
		}
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		cut2 := peace
		for first := true; ; first = false {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if !cut2 && accepts.IntN(3) == 0 {
				c, cut2 = cut(c, accepts, 1<<14), true // its peer's decisions or receipts
			}
			if first {
				accepted <- c
				continue
			}
			go func() { _ = sessions.Join(ctx, c) }()
		}
	}()
	conn, err := dial(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	other := <-accepted
	a, b := conn, other // the sender's, the receiver's
	if sendDials {
		so.Redial, ro.Sessions = dial, sessions
	} else {
		a, b = other, conn
		ro.Redial, so.Sessions = dial, sessions
	}
	done := make(chan error, 1)
	go func() {
		_, err := Receive(rctx, b, ro)
		done <- err
	}()
	_, serr := Send(sctx, a, src, so)
	rerr := <-done
	if serr == nil && rerr != nil {
		// The sender has the receiver's word; only the farewell may get lost.
		if !lost(rerr) && !errors.Is(rerr, ErrInterrupted) && !errors.Is(rerr, context.DeadlineExceeded) {
			s.t.Errorf("the sender is content, the receiver is not: %v", rerr)
		}
	}
	return errors.Join(serr, rerr)
}

// killed runs one end as a process and kills it at a random moment.
func (s *soak) killed() error {
	s.sum.kills.Add(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), calmTimeout)
	defer cancel()
	end, path := "send", s.tree
	if s.rng.IntN(2) == 0 {
		end, path = "receive", s.dst
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestSoakEnd$")
	cmd.Env = append(os.Environ(), "WHERRY_SOAK_END="+end, "WHERRY_SOAK_ADDR="+ln.Addr().String(), "WHERRY_SOAK_PATH="+path)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	_ = ln.(*net.TCPListener).SetDeadline(time.Now().Add(calmTimeout))
	conn, err := ln.Accept()
	if err != nil {
		s.t.Fatal(err)
	}
	after := time.Duration(s.rng.IntN(30)) * time.Millisecond
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	var ours error
	if end == "send" {
		root, err := os.OpenRoot(s.dst)
		if err != nil {
			s.t.Fatal(err)
		}
		defer root.Close()
		_, ours = Receive(ctx, conn, ReceiveOptions{Dir: root, Timeout: soakTimeout})
	} else {
		src, err := NewSource([]string{s.tree}, SourceOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		defer src.Close()
		_, ours = Send(ctx, conn, src, SendOptions{Timeout: soakTimeout})
	}
	return errors.Join(ours, cmd.Wait())
}
