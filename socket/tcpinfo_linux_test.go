package socket

import (
	"io"
	"testing"
	"time"
)

func TestTCPInfo(t *testing.T) {
	client, server := pair(t, Options{}, Options{})
	before, ok := client.TCPInfo()
	if !ok || before.At.IsZero() || before.MSS < 500 || before.PathMTU < 576 || before.CongestionWindow <= 0 || before.Congestion == "" {
		t.Errorf("at the start: %v %+v", ok, before)
	}
	const size = 8 << 20
	f, _ := testFile(t, size)
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, server)
		got <- n
	}()
	if _, err := io.Copy(client, f); err != nil {
		t.Fatal(err)
	}
	client.CloseWrite()
	if n := <-got; n != size {
		t.Fatalf("%d bytes arrived", n)
	}
	in, ok := server.TCPInfo()
	// The FIN takes a sequence number, and Linux counts it with the bytes.
	if !ok || in.BytesReceived < size || in.BytesReceived > size+1 {
		t.Errorf("receiver: %v, %d bytes, want %d", ok, in.BytesReceived, size)
	}
	after, ok := client.TCPInfo()
	if !ok || after.BytesSent-after.BytesRetransmitted != size {
		t.Errorf("sender: %v, %d bytes less %d, want %d", ok, after.BytesSent, after.BytesRetransmitted, size)
	}
	if after.RTT <= 0 || after.RTT > time.Second || after.MinRTT <= 0 || after.MinRTT > after.RTT*10 || after.RTO <= 0 {
		t.Errorf("RTT %v, minimum %v, RTO %v", after.RTT, after.MinRTT, after.RTO)
	}
	if after.DeliveryRate <= 0 || after.SegmentsSent <= before.SegmentsSent || after.MaxPacingRate != 0 {
		t.Errorf("%+v", after)
	}
	elapsed := after.At.Sub(before.At)
	// BusyTime may be 0: what is acknowledged within a tick was never busy.
	if !after.HasTimes || after.BusyTime < 0 || after.BusyTime > elapsed+time.Second || after.ReceiveWindow+after.SendBufferFilled > after.BusyTime {
		t.Errorf("in %v: busy %v, of that receive window %v, send buffer %v", elapsed, after.BusyTime, after.ReceiveWindow, after.SendBufferFilled)
	}
}

// A receiver that does not read: the real kernel must blame its window, whatever
// the table of TestExplain believes of the fields.
func TestExplainSlowReceiver(t *testing.T) {
	client, server := pair(t, Options{}, Options{ReceiveBuffer: 64 << 10})
	before, _ := client.TCPInfo()
	timer := time.AfterFunc(300*time.Millisecond, func() { io.Copy(io.Discard, server) })
	defer timer.Stop()
	if _, err := client.Write(make([]byte, 16<<20)); err != nil {
		t.Fatal(err)
	}
	after, _ := client.TCPInfo()
	d := Explain(before, after, Load{WriteWait: client.Counters().WriteTime})
	if d.Limiter != LimitReceiveWindow {
		t.Errorf("%v: %+v", d, d)
	}
}

// A cap on the rate: the kernel paces, and Explain says so.
func TestExplainPacing(t *testing.T) {
	const rate = 20 << 20
	client, server := pair(t, Options{PacingRate: rate}, Options{})
	go io.Copy(io.Discard, server)
	before, _ := client.TCPInfo()
	if _, err := client.Write(make([]byte, rate/2)); err != nil {
		t.Fatal(err)
	}
	after, _ := client.TCPInfo()
	d := Explain(before, after, Load{WriteWait: client.Counters().WriteTime})
	if d.Limiter != LimitPacing {
		t.Errorf("%v: %+v %+v", d, d, after)
	}
}
