package box

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// request and reply are what the process that made the box and the first process
// in it say to each other.
type request struct {
	Op      op
	ID      int
	Backend Backend
	MTU     int
	Host    Host
	Path    string
	Args    []string
	Env     []string
	Dir     string
	Target  int // the ID with which the process to signal was started
	Signal  int
}

type op string

const (
	opSetup    op = "setup"
	opStart    op = "start" // with three files
	opSignal   op = "signal"
	opCounters op = "counters"
)

type reply struct {
	ID      int
	Error   string
	Errno   int
	Denied  bool       // the error is one of missing rights
	Backend Backend    // with the link's two ends
	Exited  bool       // Status is that of the process ID
	Status  ExitStatus // of an Exited
	Missed  [2]uint64  // packets that A's and B's device dropped
}

// A channel carries messages and open files between the two processes: four
// bytes of length with the files, then the message as gob has it (not JSON: the
// arguments of a command need not be UTF-8).
type channel struct {
	c  *net.UnixConn
	mu sync.Mutex // of sending
}

// maxMessage bounds a message. Linux has arguments and environment of up to
// 6 MB together.
const maxMessage = 16 << 20

// channelPair makes both ends: ours, and a file for the other process.
func channelPair() (*channel, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "box")
	ours, err := newChannel(os.NewFile(uintptr(fds[0]), "box"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// newChannel takes f over.
func newChannel(f *os.File) (*channel, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("the channel is no Unix socket")
	}
	return &channel{c: u}, nil
}

func (c *channel) send(m any, files []*os.File) error {
	var b bytes.Buffer
	b.Write(make([]byte, 4))
	if err := gob.NewEncoder(&b).Encode(m); err != nil {
		return err
	}
	if b.Len() > maxMessage {
		return errors.New("arguments and environment are too long")
	}
	binary.BigEndian.PutUint32(b.Bytes(), uint32(b.Len()-4))
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	return c.sendRaw(b.Bytes(), fds)
}

func (c *channel) sendRaw(b []byte, fds []int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.c.WriteMsgUnix(b, oob, nil)
	if err != nil {
		return err
	}
	if n < len(b) {
		_, err = c.c.Write(b[n:])
	}
	return err
}

func (c *channel) receive(m any) ([]*os.File, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*8))
	n, oobn, _, _, err := c.c.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, err
	}
	files, err := filesOf(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if n == 0 {
		closeAll(files)
		return nil, io.EOF
	}
	if _, err = io.ReadFull(c.c, head[n:]); err == nil {
		if size := binary.BigEndian.Uint32(head[:]); size > maxMessage {
			err = fmt.Errorf("a message of %d bytes", size)
		} else {
			b := make([]byte, size)
			if _, err = io.ReadFull(c.c, b); err == nil {
				err = gob.NewDecoder(bytes.NewReader(b)).Decode(m)
			}
		}
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	ms, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range ms {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// deadline bounds what the channel does from now on; zero takes the bound away.
func (c *channel) deadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	_ = c.c.SetDeadline(at)
}

func (c *channel) close() { c.c.Close() }
