package box

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wherry-net/wherry/socket/netem"
)

// A Box is two hosts and the link between them. Its methods may be called by
// several goroutines at once.
type Box struct {
	backend Backend
	wires   [2]*wire
	ctl     *channel
	proc    *os.Process   // the box's first
	gone    chan struct{} // closed when it has ended
	initErr error         // why, set before gone is closed

	mu      sync.Mutex
	next    int
	procs   map[int]*Process
	waiting map[int]chan reply
	open    bool      // between the handshake and the end
	missed  [2]uint64 // what the devices dropped, read before they went
	closing bool      // the ends of the link go because Close took them away
	broken  error     // why the link had failed before that

	closeOnce sync.Once
}

// defaultInit is the hidden subcommand of wherry that calls Init.
var defaultInit = []string{"lab", "inside"}

// startPatience bounds the making of a box, which takes some 20 ms. It passes
// only when something hangs.
const startPatience = 30 * time.Second

// closePatience bounds the last question to the box's process, which may have been
// stopped.
const closePatience = 2 * time.Second

// Start makes a box. ctx bounds the making only; [Box.Close] ends the box, and so
// does the end of this process, however it comes about.
func Start(ctx context.Context, o Options) (*Box, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ours, theirs, err := channelPair()
	if err != nil {
		return nil, err
	}
	b := &Box{ctl: ours, gone: make(chan struct{}), procs: map[int]*Process{}, waiting: map[int]chan reply{}}
	err = b.spawn(&o, theirs)
	theirs.Close()
	if err != nil {
		ours.close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, ours.close)
	ours.deadline(startPatience)
	if err = b.handshake(&o); err != nil {
		if ctx.Err() != nil && !stop() {
			err = ctx.Err()
		}
		_ = b.Close()
		return nil, err
	}
	if !stop() {
		_ = b.Close()
		return nil, ctx.Err()
	}
	ours.deadline(0)
	for _, w := range b.wires {
		w.start()
	}
	b.open = true
	go b.listen()
	return b, nil
}

// spawn starts the first process of the box in its namespaces.
func (b *Box) spawn(o *Options, ctl *os.File) error {
	args := o.Init
	if args == nil {
		args = defaultInit
	}
	command := func(user bool) *exec.Cmd {
		cmd := exec.Command("/proc/self/exe")
		cmd.Args = append([]string{os.Args[0]}, args...)
		cmd.ExtraFiles = []*os.File{ctl}
		cmd.Stderr = o.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
			// The kernel kills the box, and with it all that runs there, when
			// the thread ends that made it.
			Pdeathsig: syscall.SIGKILL,
		}
		if user {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = mapping("/proc/self/uid_map", os.Geteuid())
			cmd.SysProcAttr.GidMappings = mapping("/proc/self/gid_map", os.Getegid())
			cmd.SysProcAttr.GidMappingsEnableSetgroups = os.Geteuid() == 0
		}
		return cmd
	}
	started := make(chan error)
	go func() {
		// That thread is this one, so it has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := command(true)
		err := cmd.Start()
		if err != nil && os.Geteuid() == 0 {
			// Root needs no user namespace, where there are none.
			cmd = command(false)
			if cmd.Start() == nil {
				err = nil
			}
		}
		b.proc = cmd.Process
		started <- err
		if err != nil {
			return
		}
		b.initErr = cmd.Wait()
		close(b.gone)
	}()
	err := <-started
	for _, forbidden := range []error{unix.EPERM, unix.EACCES, unix.ENOSPC, unix.EUSERS, unix.EINVAL, unix.ENOSYS} {
		if errors.Is(err, forbidden) {
			if forbidden == unix.ENOSPC || forbidden == unix.EUSERS {
				return fmt.Errorf("make namespaces: %w (user.max_user_namespaces or user.max_net_namespaces is reached)", ErrNamespaces)
			}
			return fmt.Errorf("make namespaces: %w (%w)", ErrNamespaces, forbidden)
		}
	}
	if err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	return nil
}

// mapping makes id 0 of the box's user namespace this user. Root, who may map
// everybody, keeps the ids as they are, so that he keeps his rights over the
// files of others.
func mapping(file string, id int) []syscall.SysProcIDMap {
	one := []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
	if os.Geteuid() != 0 {
		return one
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return one
	}
	var all []syscall.SysProcIDMap
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return one
		}
		first, err1 := strconv.Atoi(f[0])
		size, err2 := strconv.Atoi(f[2])
		if err1 != nil || err2 != nil {
			return one
		}
		all = append(all, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	if len(all) == 0 {
		return one
	}
	return all
}

// handshake tells the box what to make, and takes the two ends of the link.
func (b *Box) handshake(o *Options) error {
	mtu := o.MTU
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if err := b.ctl.send(request{Op: opSetup, Backend: o.Backend, MTU: mtu}, nil); err != nil {
		return fmt.Errorf("set up the box: %w", b.why(err))
	}
	var r reply
	files, err := b.ctl.receive(&r)
	if err != nil {
		return fmt.Errorf("set up the box: %w", b.why(err))
	}
	if r.Error != "" {
		closeAll(files)
		if r.Denied {
			return fmt.Errorf("set up the box: %w (%s)", ErrNamespaces, r.Error)
		}
		return fmt.Errorf("set up the box: %s", r.Error)
	}
	if len(files) != 2 {
		closeAll(files)
		return errors.New("set up the box: it gave no link")
	}
	b.backend = r.Backend
	var ports [2]port
	for i, f := range files {
		fd, err := unix.Dup(int(f.Fd()))
		f.Close()
		if err == nil {
			unix.CloseOnExec(fd)
			ports[i], err = newPort(r.Backend, fd, mtu)
		}
		if err != nil {
			for _, p := range ports[:i] {
				p.close()
			}
			closeAll(files[i+1:])
			return fmt.Errorf("open the link: %w", err)
		}
	}
	if b.wires, err = newWires(o, ports, mtu); err != nil {
		for _, p := range ports {
			p.close()
		}
		return err
	}
	return nil
}

// why replaces the error of a channel that broke by what ended the box's
// process, if that is known.
func (b *Box) why(err error) error {
	select {
	case <-b.gone:
	case <-time.After(time.Second):
		return err
	}
	if b.initErr != nil {
		return fmt.Errorf("its process ended: %w", b.initErr)
	}
	return err
}

// Backend is what the box uses.
func (b *Box) Backend() Backend { return b.backend }

// listen takes what the box's process tells.
func (b *Box) listen() {
	for {
		var r reply
		files, err := b.ctl.receive(&r)
		closeAll(files)
		if err != nil {
			break
		}
		b.mu.Lock()
		switch {
		case r.Exited:
			if p := b.procs[r.ID]; p != nil {
				delete(b.procs, r.ID)
				p.status = r.Status
				close(p.done)
			}
		case b.waiting[r.ID] != nil:
			b.waiting[r.ID] <- r // has room
			delete(b.waiting, r.ID)
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	b.open = false
	for id, c := range b.waiting {
		close(c)
		delete(b.waiting, id)
	}
	for id, p := range b.procs {
		p.status, p.err = ExitStatus{Signal: int(unix.SIGKILL)}, ErrClosed
		close(p.done)
		delete(b.procs, id)
	}
	b.mu.Unlock()
}

// ask sends a request and waits for its answer. before, if not nil, is called
// when the request has its number.
func (b *Box) ask(q request, files []*os.File, before func(id int)) (reply, error) {
	b.mu.Lock()
	if !b.open {
		b.mu.Unlock()
		return reply{}, ErrClosed
	}
	b.next++
	q.ID = b.next
	answer := make(chan reply, 1)
	b.waiting[q.ID] = answer
	if before != nil {
		before(q.ID)
	}
	err := b.ctl.send(q, files)
	if err != nil {
		delete(b.waiting, q.ID)
	}
	b.mu.Unlock()
	if err != nil {
		return reply{}, err
	}
	r, ok := <-answer
	if !ok {
		return reply{}, ErrClosed
	}
	return r, nil
}

// A Process is a command that was started.
type Process struct {
	box    *Box
	id     int
	done   chan struct{}
	status ExitStatus
	err    error
}

// Run starts c. What it says of a program that cannot be started wraps the
// [syscall.Errno].
func (b *Box) Run(c Command) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{c.Stdin, c.Stdout, c.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	q := request{Op: opStart, Host: c.Host, Path: c.Path, Args: c.Args, Env: c.Env, Dir: c.Dir}
	if q.Env == nil {
		q.Env = os.Environ()
	}
	if q.Dir == "" {
		if q.Dir, err = os.Getwd(); err != nil {
			q.Dir = "" // removed under us: the box's process stands in it, too
		}
	}
	p := &Process{box: b, done: make(chan struct{})}
	r, err := b.ask(q, files, func(id int) {
		p.id = id
		b.procs[id] = p
	})
	if err == nil && r.Error != "" {
		err = errors.New(r.Error)
		if r.Errno != 0 {
			err = syscall.Errno(r.Errno)
		}
	}
	if err != nil {
		b.mu.Lock()
		delete(b.procs, p.id)
		b.mu.Unlock()
		return nil, fmt.Errorf("run %s on host %v: %w", strconv.Quote(c.Path), c.Host, err)
	}
	return p, nil
}

// Wait waits for the end of the process. The error wraps ErrClosed when the box
// ended before it did.
func (p *Process) Wait() (ExitStatus, error) {
	<-p.done
	return p.status, p.err
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends sig to the process, if it still runs.
func (p *Process) Signal(sig syscall.Signal) error {
	_, err := p.box.ask(request{Op: opSignal, Target: p.id, Signal: int(sig)}, nil, nil)
	return err
}

// Stats tells what the two directions have done so far: from A to B, and from B
// to A.
func (b *Box) Stats() [2]Stats {
	b.mu.Lock()
	missed := b.missed
	b.mu.Unlock()
	if r, err := b.ask(request{Op: opCounters}, nil, nil); err == nil && r.Error == "" {
		missed = r.Missed
	}
	var s [2]Stats
	for i, w := range b.wires {
		s[i] = w.stats()
		s[i].Missed += missed[i]
	}
	return s
}

// Err is why the link has stopped carrying packets, or nil: it works, or was
// closed.
func (b *Box) Err() error {
	b.mu.Lock()
	closed, err := b.closing, b.broken
	b.mu.Unlock()
	if closed {
		return err
	}
	return b.failed()
}

func (b *Box) failed() error {
	for _, w := range b.wires {
		if w == nil {
			continue
		}
		if err := w.failed(); err != nil {
			return fmt.Errorf("link: %w", err)
		}
	}
	return nil
}

// Close ends every process in the box and takes it down. [Box.Stats] may be asked
// afterwards. When Close returns nothing is left: no process, no device; the
// kernel frees the namespaces.
func (b *Box) Close() error {
	b.closeOnce.Do(func() {
		b.ctl.deadline(closePatience)
		if r, err := b.ask(request{Op: opCounters}, nil, nil); err == nil && r.Error == "" {
			b.mu.Lock()
			b.missed = r.Missed
			b.mu.Unlock()
		}
		broken := b.failed() // before the ends go with their hosts
		b.mu.Lock()
		b.open, b.closing, b.broken = false, true, broken
		b.mu.Unlock()
		// Its process ends when it reads the end of the channel; everything
		// else in the process namespace goes with it.
		b.ctl.close()
		select {
		case <-b.gone:
		case <-time.After(closePatience):
			_ = b.proc.Kill() // it was stopped
			<-b.gone
		}
		for _, w := range b.wires {
			if w != nil {
				w.close()
			}
		}
		for _, w := range b.wires {
			if w != nil {
				w.out.close()
			}
		}
	})
	return nil
}

// limitFor is the memory of a link that holds what is on its way: the delay and
// the queue at the link's rate.
func limitFor(c *netem.Config) int {
	const least, most = netem.DefaultLimit, 1 << 30
	rate := c.Rate.Bytes()
	if rate == 0 {
		rate = 10e9 / 8
	}
	// A buffer has 2048 bytes for a packet of 1500, and small ones take as much.
	need := 2 * (rate*(c.Delay+4*c.Jitter).Seconds() + float64(c.Queue))
	return int(min(max(need, least), most))
}
