package socket

import (
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A listener whose queue is full drops SYNs, as a firewall would: the one way
// to a real connect timeout without leaving this host.
func TestDialTimesOut(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*unix.SockaddrInet4).Port}).String()

	d := Dialer{Timeout: 200 * time.Millisecond}
	for range 8 {
		c, err := d.Dial(t.Context(), addr)
		if err == nil {
			defer c.Close()
			continue
		}
		if !errors.Is(err, ErrTimeout) {
			t.Errorf("want ErrTimeout: %v", err)
		}
		if got, want := err.Error(), "connect to "+addr+": timed out"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		return
	}
	t.Fatal("the queue never filled")
}
