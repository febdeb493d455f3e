package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/pairing"
)

// Whoever cuts a connection and answers the dialer in the peer's place gets one guess
// at the code: after a wrong one the dialer does not come again by itself. After what
// tests none it does.
func TestRedialAfterAGuess(t *testing.T) {
	code := func(s string) pairing.Code {
		c, err := pairing.ParseCode(s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	ln, err := net.Listen("tcp", listenAny)
	if err != nil {
		t.Fatal(err)
	}
	l, err := pairing.NewListener(ln, code("7-blue-heron"), pairing.Config{Role: pairing.Receiver})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m := &meeting{role: pairing.Sender, code: code("7-cedar-otter")}
	r := &route{m, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}}
	if _, err := r.redial(t.Context()); !errors.Is(err, transfer.ErrGone) || !errors.Is(err, pairing.ErrWrongCode) {
		t.Errorf("after a wrong guess: %v", err)
	}
	r.connect = func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		b.Close()
		return a, nil
	}
	if _, err := r.redial(t.Context()); err == nil || errors.Is(err, transfer.ErrGone) {
		t.Errorf("after a connection that came to nothing: %v", err)
	}
}

// A code among the arguments is refused and not printed again.
func TestCodeAsArgument(t *testing.T) {
	for _, args := range [][]string{
		{"receive", "17-cedar-otter"}, {"receive", "--code", "17-cedar-otter"}, {"send", "--code=17-cedar-otter", "x"},
	} {
		code, out, errs := wherryRun(t.Context(), args...)
		if code != exitUsage || strings.Contains(out+errs, "cedar") || !strings.Contains(errs, "list of processes") || !strings.Contains(errs, codeVariable) {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}
