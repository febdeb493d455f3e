//go:build !windows

package socket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
)

func TestKind(t *testing.T) {
	op := func(err error) error {
		return fmt.Errorf("sending a.txt: %w", &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", err)})
	}
	for _, tt := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{io.EOF, nil},
		{context.Canceled, nil},
		{net.ErrClosed, nil},
		{op(syscall.EPERM), nil},
		{op(syscall.ECONNREFUSED), ErrRefused},
		{op(syscall.ETIMEDOUT), ErrTimeout},
		{op(syscall.ENETUNREACH), ErrUnreachable},
		{op(syscall.EHOSTUNREACH), ErrUnreachable},
		{op(syscall.ECONNRESET), ErrLost},
		{op(syscall.EPIPE), ErrLost},
		{op(syscall.EADDRINUSE), ErrAddressInUse},
		{op(syscall.EADDRNOTAVAIL), ErrNotOurs},
		{fmt.Errorf("x: %w", os.ErrDeadlineExceeded), ErrTimeout},
		{context.DeadlineExceeded, ErrTimeout},
		{&net.DNSError{IsNotFound: true}, ErrUnknownHost},
		{&net.DNSError{IsTimeout: true}, ErrTimeout},
		{&net.DNSError{IsTemporary: true}, ErrNameServer},
		{fmt.Errorf("x: %w", ErrLost), ErrLost},
	} {
		if got := Kind(tt.err); got != tt.want {
			t.Errorf("Kind(%v) = %v, want %v", tt.err, got, tt.want)
		}
	}
}

// Of several failures the one that says most stands for all.
func TestTelling(t *testing.T) {
	at := func(errs ...error) (out []Attempt) {
		for _, err := range errs {
			out = append(out, Attempt{Addr: netip.MustParseAddrPort("127.0.0.1:1"), Err: err})
		}
		return out
	}
	for _, tt := range []struct {
		attempts []Attempt
		want     error
	}{
		{at(syscall.ENETUNREACH, syscall.ECONNREFUSED), ErrRefused},
		{at(context.DeadlineExceeded, syscall.ECONNREFUSED), ErrRefused},
		{at(syscall.ENETUNREACH, context.DeadlineExceeded), ErrTimeout},
		{at(syscall.ENETUNREACH, syscall.EHOSTUNREACH), ErrUnreachable},
		{at(syscall.EACCES), nil},
	} {
		if got := telling(tt.attempts); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.attempts, got, tt.want)
		}
		err := &DialError{Address: "host:1", Kind: tt.want, Attempts: tt.attempts}
		if tt.want == nil {
			if !errors.Is(err, syscall.EACCES) || Kind(err) != nil {
				t.Errorf("%v", err)
			}
		}
	}
}
