package main

import (
	"net"
	"slices"
	"sync"
)

// A lobby bounds what --keep serves: connections whose sender has not said hello
// yet, and senders that have. Somebody who opens thousands of connections and
// says nothing only ever pushes out the oldest of the silent ones; a sender says
// hello within a round trip and is safe from then on.
type lobby struct {
	mu      sync.Mutex
	silent  []net.Conn // the oldest first
	serving int
}

const (
	// maxSilent bounds connections before their hello. Each holds a read buffer
	// of 256 KiB.
	maxSilent = 128
	// maxSessions bounds the senders that are served at once.
	maxSessions = 64
)

// enter takes in a connection, and closes the one that has been silent longest
// if there are too many.
func (l *lobby) enter(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.silent) == maxSilent {
		l.silent[0].Close()
		l.silent = slices.Delete(l.silent, 0, 1)
	}
	l.silent = append(l.silent, conn)
}

// greeted tells that conn's sender said hello. False means that there is no
// place for it now.
func (l *lobby) greeted(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.silent, conn)
	if i < 0 || l.serving == maxSessions {
		return false
	}
	l.silent = slices.Delete(l.silent, i, i+1)
	l.serving++
	return true
}

// waiting reports whether conn is among the silent ones still.
func (l *lobby) waiting(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.silent, conn)
}

// leave tells that conn is gone.
func (l *lobby) leave(conn net.Conn, served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if served {
		l.serving--
	}
	if i := slices.Index(l.silent, conn); i >= 0 {
		l.silent = slices.Delete(l.silent, i, i+1)
	}
}
