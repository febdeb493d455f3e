package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/sockettest"
)

// What is no broker is said in a line, and is of the network.
func TestDialNone(t *testing.T) {
	listen := func(serve func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); serve(c) }()
			}
		}()
		return l.Addr().String()
	}
	web := listen(func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 \x1b[31mBad Request\r\n\r\n") })
	mute := listen(func(c net.Conn) {})
	nobody := sockettest.DeadTCP(t).String()
	for _, c := range []struct {
		url  string
		kind error
	}{
		{"amqp://" + nobody, socket.ErrRefused},
		{"amqp://" + web, nil},
		{"amqps://" + web, nil},
		{"amqp://" + mute, nil},
		{"amqps://" + mute, nil},
		{"amqp://" + mute + "," + nobody, socket.ErrRefused},
	} {
		u, err := Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err = Dial(ctx, u, Options{})
		cancel()
		if !errors.Is(err, ErrNone) || errors.Is(err, ErrAuth) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.url, err)
		} else if strings.ContainsAny(err.Error(), "\x1b\r") {
			t.Errorf("%q", err)
		}
	}

	// A certificate that nobody vouches for is another matter.
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	u, err := Parse("amqps://" + s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = Dial(t.Context(), u, Options{})
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || errors.Is(err, ErrNone) {
		t.Error(err)
	}
}
