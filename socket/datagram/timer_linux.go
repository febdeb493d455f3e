package datagram

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// alarm is a timerfd in the netpoller.
type alarm struct {
	file *os.File
	raw  syscall.RawConn
	read func(fd uintptr) bool
}

// NewTimer makes a Timer that is not set.
func NewTimer() (*Timer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "timerfd") // non-blocking: goes to the netpoller
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	t := &Timer{alarm{file: f, raw: raw}}
	t.read = func(fd uintptr) bool {
		var fired uint64
		_, err := unix.Read(int(fd), (*[8]byte)(unsafe.Pointer(&fired))[:])
		return err != unix.EAGAIN
	}
	return t, nil
}

func (a *alarm) set(d time.Duration) {
	// Zero would disarm it.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(1, d.Nanoseconds()))}
	_ = a.raw.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
}

func (a *alarm) wait() error {
	if err := a.raw.Read(a.read); err != nil {
		return fmt.Errorf("timer: %w", net.ErrClosed)
	}
	return nil
}

func (a *alarm) close() error { return a.file.Close() }
