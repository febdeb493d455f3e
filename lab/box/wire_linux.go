package box

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wherry-net/wherry/socket/netem"
)

// A wire is one direction of the link: it takes packets from one port, puts them
// through the engine, and gives them to the other when their time has come. It
// runs on a thread of its own.
type wire struct {
	in, out port
	start0  time.Time
	frames  []frame
	wake    int // an eventfd that ends the waiting
	done    chan struct{}
	running bool
	ending  atomic.Bool

	mu      sync.Mutex
	link    *netem.Link
	ignored uint64
	refused uint64
	late    time.Duration
	err     error
}

// newWires makes both directions; nothing runs yet.
func newWires(o *Options, ports [2]port, mtu int) ([2]*wire, error) {
	var ws [2]*wire
	now := time.Now()
	for i, cfg := range []netem.Config{o.AToB, o.BToA} {
		cfg.Direction = uint64(i)
		if cfg.Limit == 0 {
			cfg.Limit = limitFor(&cfg)
		}
		w := &wire{in: ports[i], out: ports[1-i], start0: now, frames: newFrames(max(mtu, DefaultMTU)), done: make(chan struct{})}
		var err error
		if w.link, err = netem.New(cfg); err == nil {
			w.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		}
		if err != nil {
			if i == 1 {
				unix.Close(ws[0].wake)
			}
			return ws, fmt.Errorf("make the link: %w", err)
		}
		ws[i] = w
	}
	return ws, nil
}

func (w *wire) start() {
	w.running = true
	go w.run()
}

// close ends the wire and waits for it. Its ports stay.
func (w *wire) close() {
	if w.running {
		w.ending.Store(true)
		_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-w.done
	}
	unix.Close(w.wake)
}

func (w *wire) stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Stats: w.link.Stats(), Missed: w.in.missed(), Ignored: w.ignored, Refused: w.refused, Late: w.late}
}

// failed is what ended the wire before its time.
func (w *wire) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// errRemoved ends a wire.
var errRemoved = errors.New("a host removed its end of the link")

func (w *wire) now() time.Duration { return time.Since(w.start0) }

func (w *wire) run() {
	defer close(w.done)
	// The thread ends with this goroutine, so it can have its own timer slack:
	// 50 µs, the default, is the time that four packets take at 1 Gbit/s.
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 25000, 0, 0, 0)
	push := func(pkt []byte) {
		if chatter(pkt) {
			w.ignored++
			return
		}
		w.link.Push(w.now(), pkt)
	}
	poll := []unix.PollFd{{Fd: int32(w.in.fd()), Events: unix.POLLIN}, {Fd: int32(w.wake), Events: unix.POLLIN}}
	for !w.ending.Load() {
		given, err := w.deliver()
		taken := 0
		if err == nil {
			w.mu.Lock()
			taken, err = w.in.take(push)
			w.mu.Unlock()
		}
		// A short batch leaves nothing behind it; whatever was taken may be due.
		if err == nil && given < batch && taken == 0 {
			err = w.wait(poll)
		}
		if err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			return
		}
	}
}

// deliver gives the packets whose time has come, up to a batch of them.
func (w *wire) deliver() (int, error) {
	n := 0
	now := w.now()
	w.mu.Lock()
	for n < batch {
		at, ok := w.link.Next()
		if !ok || at > now {
			break
		}
		w.late = max(w.late, now-at)
		f := &w.frames[n]
		f.n, _ = w.link.Pop(now, f.buf[headroom:])
		n++
	}
	w.mu.Unlock()
	if n == 0 {
		return 0, nil
	}
	refused, err := w.out.give(w.frames[:n])
	if refused > 0 {
		w.mu.Lock()
		w.refused += uint64(refused)
		w.mu.Unlock()
	}
	return n, err
}

// wait waits for a packet, for the time of the next arrival, or for the end.
func (w *wire) wait(poll []unix.PollFd) error {
	var timeout *unix.Timespec
	w.mu.Lock()
	at, ok := w.link.Next()
	w.mu.Unlock()
	if ok {
		d := at - w.now()
		if d <= 0 {
			return nil
		}
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	poll[0].Revents = 0
	if _, err := unix.Ppoll(poll, timeout, nil); err != nil && err != unix.EINTR {
		return os.NewSyscallError("ppoll", err)
	}
	if poll[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
		return w.in.broken()
	}
	return nil
}
