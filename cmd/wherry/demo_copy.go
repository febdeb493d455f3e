package main

import (
	"context"
	"fmt"
	"net"
	"os"

	"github.com/wherry-net/wherry/socket"
	"github.com/wherry-net/wherry/socket/datagram"
	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// demoCopy copies tree into root, with both ends in this process and real sockets
// between them: TCP, or reliable UDP where bad says what becomes of what each end
// sends.
func demoCopy(ctx context.Context, io stdio, tree string, root *os.Root, bad *netem.Config) error {
	ln, dial, err := demoSockets(ctx, bad)
	if err != nil {
		return err
	}
	defer ln.Close()
	type received struct {
		result transfer.Result
		err    error
	}
	got := make(chan received, 1)
	go func() {
		conn, err := ln.AcceptContext(ctx)
		if err != nil {
			got <- received{err: err}
			return
		}
		result, err := transfer.Receive(ctx, conn, transfer.ReceiveOptions{Dir: root})
		got <- received{result, err}
	}()
	src, err := transfer.NewSource([]string{tree}, transfer.SourceOptions{})
	if err != nil {
		return err
	}
	defer src.Close()
	conn, err := dial(ln.Addr().String())
	if err != nil {
		return err
	}
	m := startMeasure(conn)
	var rows []string
	sent, err := transfer.Send(ctx, conn, src, transfer.SendOptions{Trace: &transfer.Trace{
		Closing: m.stop,
		Finished: func(e *transfer.Entry, d treehash.Digest, _ bool) {
			rows = append(rows, fmt.Sprintf("   %-36s %10s  %x…", quotePath(e.Path), units.FormatBytes(e.Size), d[:8]))
		},
	}})
	r := <-got
	if err == nil {
		err = r.err
	}
	if err != nil {
		return err
	}
	if bad == nil { // the second time they are the same
		fmt.Fprintf(io.Out, "   %-36s %10s  %s\n", "file", "size", "BLAKE3, computed on both ends")
		for _, row := range rows {
			fmt.Fprintln(io.Out, row)
		}
	}
	fmt.Fprintf(io.Out, "   %s, %s in %s (%s), limited by %s\n", count(sent.Files, "file"), units.FormatBytes(sent.Bytes), formatDuration(sent.Elapsed),
		formatRate(float64(sent.Moved)/sent.Elapsed.Seconds()), m.limiter(true, sent.Waited))
	packets, lost, again := m.packets()
	fmt.Fprintf(io.Out, "   %d packets sent, %d lost, %d retransmitted; RTT %.3g ms (median)\n", packets, lost, again, m.rtt().Median)
	return nil
}

// demoSockets is a listener on loopback and how to dial it.
func demoSockets(ctx context.Context, bad *netem.Config) (waiter, func(address string) (net.Conn, error), error) {
	const any = "127.0.0.1:0"
	if bad == nil {
		ln, err := socket.Listen(ctx, any, socket.Options{})
		if err != nil {
			return nil, nil, err
		}
		d := socket.Dialer{}
		return plainWaiter{ln}, func(a string) (net.Conn, error) { return d.DialContext(ctx, "tcp", a) }, nil
	}
	cfg := func(direction uint64) rudp.Config {
		link := *bad
		link.Direction = direction
		return rudp.Config{Socket: datagram.Options{Impair: &link}}
	}
	ln, err := rudp.Listen(ctx, "udp", any, cfg(1))
	if err != nil {
		return nil, nil, err
	}
	return udpWaiter{Listener: ln}, func(a string) (net.Conn, error) { return dialUDP(ctx, a, socket.Options{}, cfg(0)) }, nil
}
