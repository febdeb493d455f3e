package box

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// enterSocket is where the box's first process gives out the hosts' network
// namespaces. It is abstract, so it exists in the two namespaces only, and there
// is no file that could stay behind.
const enterSocket = "@wherry-box"

// enterPatience bounds how long either end waits for the other, which takes no time
// unless that is stopped.
const enterPatience = 10 * time.Second

// serveEnter listens in the network namespace of this thread.
func (i *initProc) serveEnter() error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: enterSocket, Net: "unix"})
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			// A client is a process of this user and asks once, but between that
			// and its connecting it may have to wait for a processor, and the
			// others not for it.
			go func() {
				i.giveOut(c)
				c.Close()
			}()
		}
	}()
	return nil
}

func (i *initProc) giveOut(c *net.UnixConn) {
	_ = c.SetDeadline(time.Now().Add(enterPatience))
	var which [1]byte
	if _, err := c.Read(which[:]); err != nil {
		return
	}
	h, err := ParseHost(string(which[:]))
	if err != nil {
		return
	}
	rights := unix.UnixRights(int(i.hosts[h].ns.Fd()))
	_, _, _ = c.WriteMsgUnix(which[:], rights, nil)
}

// Exec replaces this process by a program on host h. The caller runs in a box
// already, on either host; elsewhere the error wraps ErrOutside. It returns only
// if it fails.
func Exec(h Host, path string, args, env []string) error {
	ns, err := askForHost(h)
	if err != nil {
		return err
	}
	// The namespace is this thread's, and it is the one that becomes the new
	// program.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
	ns.Close()
	if err != nil {
		return fmt.Errorf("enter host %v: %w", h, err)
	}
	return fmt.Errorf("run on host %v: %w", h, syscall.Exec(path, args, env))
}

func askForHost(h Host) (*os.File, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: enterSocket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("enter host %v: %w", h, ErrOutside)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(enterPatience))
	if _, err := c.Write([]byte(h.String())); err != nil {
		return nil, fmt.Errorf("enter host %v: %w", h, err)
	}
	var got [1]byte
	oob := make([]byte, unix.CmsgSpace(4*4))
	_, n, _, _, err := c.ReadMsgUnix(got[:], oob)
	if err != nil {
		return nil, fmt.Errorf("enter host %v: %w", h, err)
	}
	files, err := filesOf(oob[:n])
	if err == nil && len(files) != 1 {
		closeAll(files)
		err = fmt.Errorf("the box gave %d namespaces", len(files))
	}
	if err != nil {
		return nil, fmt.Errorf("enter host %v: %w", h, err)
	}
	return files[0], nil
}
