//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// inForeground tells whether what the terminal sends comes to this process's
// group, and so to its children.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// keepTerminal returns a func that takes the terminal back from a shell that put
// itself into the foreground and did not go back.
func keepTerminal() func() {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return func() {}
	}
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		tty.Close()
		return func() {}
	}
	return func() {
		defer tty.Close()
		// A process in the background that does this is stopped unless it
		// ignores the signal.
		signal.Ignore(syscall.SIGTTOU)
		defer signal.Reset(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, group)
	}
}
