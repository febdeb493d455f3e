package box

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init is the first process of a box: it makes the hosts, starts commands there
// when it is told to, collects the dead, and ends when the process that made the
// box closes the channel or dies. It is what runs when [Start] runs this program
// again, and is of no use otherwise. It returns when the box is to end.
func Init() error {
	const channelFD = 3
	f := os.NewFile(channelFD, "box")
	if os.Getpid() != 1 || f == nil {
		return errors.New("this is a part of 'wherry lab link', which starts it")
	}
	unix.CloseOnExec(channelFD)
	ctl, err := newChannel(f)
	if err != nil {
		return fmt.Errorf("box: %w", err)
	}
	defer ctl.close()

	// What a terminal sends goes to every process in the foreground, and is for
	// the command. Caught, not ignored: what is ignored stays so in children.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)

	i := &initProc{ctl: ctl, pids: map[int]int{}, ids: map[int]int{}}
	go i.reap(children)
	for {
		var q request
		files, err := ctl.receive(&q)
		if err != nil {
			return nil // the end of the box, however it comes about
		}
		var r reply
		switch q.Op {
		case opSetup:
			var ends []*os.File
			r, ends = i.setUp(q)
			err = ctl.send(r, ends)
			closeAll(ends)
		case opStart:
			r = i.start(q, files)
			r.ID = q.ID
			err = ctl.send(r, nil)
		case opSignal:
			i.mu.Lock()
			if pid := i.pids[q.Target]; pid > 0 {
				_ = unix.Kill(pid, unix.Signal(q.Signal))
			}
			i.mu.Unlock()
			err = ctl.send(reply{ID: q.ID}, nil)
		case opCounters:
			for h := range i.hosts {
				i.hosts[h].do(func() { r.Missed[h] = deviceDrops() })
			}
			r.ID = q.ID
			err = ctl.send(r, nil)
		}
		closeAll(files)
		if err != nil {
			return nil
		}
	}
}

type initProc struct {
	ctl   *channel
	hosts [2]*nsThread

	mu   sync.Mutex
	pids map[int]int // of commands, by ID
	ids  map[int]int // and back
}

// setUp makes the hosts and returns the ends of the link: packets that A sends
// are read from the first, packets for A are written to it.
func (i *initProc) setUp(q request) (reply, []*os.File) {
	fail := func(err error) (reply, []*os.File) {
		denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC)
		return reply{Error: err.Error(), Denied: denied}, nil
	}
	// Mounts are for the box only. Where the system will not let a user mount
	// another /proc, the old one does: it only shows other process numbers.
	_ = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	var err error
	if i.hosts[A], err = newNSThread(false); err != nil {
		return fail(err)
	}
	if i.hosts[B], err = newNSThread(true); err != nil {
		return fail(err)
	}
	r := reply{}
	var ends []*os.File
	var tunErr error
	if q.Backend != Packet {
		r.Backend = TUN
		ends, tunErr = makeTUNs(i.hosts, q.MTU)
	}
	if q.Backend == Packet || q.Backend == Auto && tunErr != nil {
		r.Backend, tunErr = Packet, nil
		ends, err = makeVeths(i.hosts, q.MTU)
	}
	if tunErr != nil {
		return reply{Error: tunErr.Error()}, nil
	}
	for h := range i.hosts {
		if err == nil {
			i.hosts[h].do(func() { err = configure(Host(h), q.MTU) })
		}
		if err == nil {
			i.hosts[h].do(func() { err = i.serveEnter() })
		}
	}
	if err != nil {
		closeAll(ends)
		return fail(err)
	}
	return r, ends
}

// start runs a command on its host.
func (i *initProc) start(q request, files []*os.File) (r reply) {
	if len(files) != 3 || q.Host != A && q.Host != B || i.hosts[q.Host] == nil {
		return reply{Error: "box: a request that makes no sense"}
	}
	attr := &syscall.ProcAttr{Dir: q.Dir, Env: append(q.Env, Environ()...)}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	i.hosts[q.Host].do(func() {
		// Under the lock, so that the reaper does not find a child that has no
		// name yet.
		i.mu.Lock()
		defer i.mu.Unlock()
		pid, err := syscall.ForkExec(q.Path, q.Args, attr)
		if err != nil {
			r.Error = err.Error()
			var no syscall.Errno
			if errors.As(err, &no) {
				r.Errno = int(no)
			}
			return
		}
		i.pids[q.ID], i.ids[pid] = pid, q.ID
	})
	return r
}

// reap collects the dead: the commands, and everything that lost its parent.
func (i *initProc) reap(children <-chan os.Signal) {
	for range children {
		for {
			var w unix.WaitStatus
			pid, err := unix.Wait4(-1, &w, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
			i.mu.Lock()
			id, ours := i.ids[pid]
			delete(i.ids, pid)
			delete(i.pids, id)
			i.mu.Unlock()
			if !ours {
				continue
			}
			s := ExitStatus{Code: w.ExitStatus()}
			if w.Signaled() {
				s = ExitStatus{Signal: int(w.Signal())}
			}
			_ = i.ctl.send(reply{ID: id, Exited: true, Status: s}, nil)
		}
	}
}

// An nsThread is an OS thread that stays in one network namespace and does what
// it is told there.
type nsThread struct {
	work chan func()
	ns   *os.File // of its namespace
}

// newNSThread starts one, in this process's namespace or in a new one.
func newNSThread(fresh bool) (*nsThread, error) {
	t := &nsThread{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: such a thread is good for nothing else
		if fresh {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				ready <- os.NewSyscallError("make a network namespace", err)
				return
			}
		}
		var err error
		t.ns, err = os.Open("/proc/thread-self/ns/net")
		ready <- err
		if err != nil {
			return
		}
		for f := range t.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, err
	}
	return t, nil
}

// do runs f on the thread and waits for it.
func (t *nsThread) do(f func()) {
	done := make(chan struct{})
	t.work <- func() { defer close(done); f() }
	<-done
}

// stop ends the thread. Its namespace stays as long as something else is there.
func (t *nsThread) stop() {
	close(t.work)
	t.ns.Close()
}
