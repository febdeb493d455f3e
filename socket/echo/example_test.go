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

	p := echo.Pinger{Count: 3, Interval: 10 * time.Millisecond, Timeout: time.Minute}
	res, err := p.Run(ctx, pc.LocalAddr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d sent, %d received, %.0f%% lost, the median is in between: %t\n",
		res.Sent, res.Received, 100*res.LossRatio(), res.RTT.Min <= res.RTT.Median && res.RTT.Median <= res.RTT.Max)
	// Output: 3 sent, 3 received, 0% lost, the median is in between: true
}
