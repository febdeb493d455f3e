package echo_test

import (
	"context"
	"fmt"
	"time"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/echo"
)

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pc, err := socket.ListenUDP(ctx, "127.0.0.1:0", socket.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pc.Close()
	var s echo.Server
	go s.ServeUDP(ctx, pc)

	p := echo.Pinger{Count: 3, Interval: 10 * time.Millisecond}
	res, err := p.Run(ctx, pc.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d sent, %d received, %.0f%% lost, median below a second: %t\n",
		res.Sent, res.Received, 100*res.LossRatio(), res.RTT.Median < time.Second)
	// Output: 3 sent, 3 received, 0% lost, median below a second: true
}
