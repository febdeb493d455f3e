package socket_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/wherry-net/wherry/socket"
)

func ExampleParseHostPort() {
	for _, s := range []string{":7000", "files.example", "[2001:db8::1]:22", "2001:db8::1", "https://files.example/"} {
		hp, err := socket.ParseHostPort(s, socket.DefaultPort)
		if err != nil {
			fmt.Println("error:", err)
			continue
		}
		fmt.Println(hp)
	}
	// Output:
	// :7000
	// files.example:7557
	// [2001:db8::1]:22
	// [2001:db8::1]:7557
	// error: address "https://files.example/": is a URL; give HOST or HOST:PORT
}

func Example() {
	ctx := context.Background()
	l, err := socket.Listen(ctx, "127.0.0.1:0", socket.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		c, err := l.Accept(ctx)
		if err != nil {
			return
		}
		defer c.Close()
		io.Copy(c, c)
	}()

	var d socket.Dialer
	c, err := d.Dial(ctx, l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	c.CloseWrite()
	answer, err := io.ReadAll(c)
	fmt.Printf("%s %v\n", answer, err)
	n := c.Counters()
	fmt.Println(n.BytesWritten, "bytes out,", n.BytesRead, "in")
	// Output:
	// hello <nil>
	// 5 bytes out, 5 in
}

func ExampleDialer() {
	d := socket.Dialer{
		Timeout: 3 * time.Second,
		Lookup: func(ctx context.Context, network, host string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		},
	}
	_, err := d.Dial(context.Background(), "nosuch.example:7557")
	fmt.Println(err)
	fmt.Println(errors.Is(err, socket.ErrUnknownHost))
	// Output:
	// connect to nosuch.example:7557: unknown host
	// true
}

func ExampleExplain() {
	// Two readings, ten seconds apart, that Conn.TCPInfo might have returned.
	before := socket.TCPInfo{HasTimes: true}
	after := socket.TCPInfo{HasTimes: true, BusyTime: 10 * time.Second, ReceiveWindow: 8300 * time.Millisecond}
	fmt.Println(socket.Explain(before, after, socket.Load{Elapsed: 10 * time.Second}))
	// Output: receive window 83%
}
