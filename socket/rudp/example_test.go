package rudp_test

import (
	"context"
	"fmt"
	"io"

	"github.com/wherry-net/wherry/socket/rudp"
)

// A server that answers, and a client that ends its half of the conversation
// and reads the answer.
func Example() {
	ctx := context.Background()
	l, err := rudp.Listen(ctx, "udp", "127.0.0.1:0", rudp.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "%s yourself", b)
	}()

	c, err := rudp.Dial(ctx, l.AddrPort(), rudp.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, "hello")
	c.CloseWrite()
	b, err := io.ReadAll(c)
	fmt.Println(string(b), err)
	// Output: hello yourself <nil>
}
