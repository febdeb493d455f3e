package socket

import (
	"io"
	"testing"
	"time"
)

func TestTCPInfo(t *testing.T) {
	start := time.Now()
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
	// No round trip was longer than all of it.
	if after.RTT <= 0 || after.RTT > time.Since(start) || after.MinRTT <= 0 || after.MinRTT > after.RTT*10 || after.RTO <= 0 {
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
	written := make(chan error, 1)
	go func() {
		_, err := client.Write(make([]byte, 16<<20))
		written <- err
	}()
	// However long the writer took to begin, it has been stopped by the window for
	// most of the time some day.
	var d Diagnosis
	until(t, 50*time.Millisecond, func() bool {
		after, _ := client.TCPInfo()
		d = Explain(before, after, Load{})
		return d.Limiter == LimitReceiveWindow && d.Share > 0.5
	}, func() { t.Errorf("%v: %+v", d, d) })
	go io.Copy(io.Discard, server)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// until calls f every so often until it returns true, or calls never: it asks a
// kernel which tells nobody when it knows more.
func until(t *testing.T, every time.Duration, f func() bool, never func()) {
	t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; {
		<-tick.C
		late := time.Now().After(end)
		if f() {
			return
		}
		if late {
			never()
			return
		}
	}
}

// A cap on the rate: the kernel paces, and Explain says so. Reno alone is never
// limited by its pace.
func TestExplainPacing(t *testing.T) {
	const rate = 20 << 20
	client, server := pair(t, Options{PacingRate: rate, Congestion: "reno"}, Options{})
	go io.Copy(io.Discard, server)
	go func() {
		for {
			if _, err := client.Write(make([]byte, rate/10)); err != nil {
				return
			}
		}
	}()
	// A machine that stops the reader or the writer makes them the limit; in one of
	// these spans it does not.
	before, _ := client.TCPInfo()
	var after TCPInfo
	var d Diagnosis
	until(t, 100*time.Millisecond, func() bool {
		after, _ = client.TCPInfo()
		d = Explain(before, after, Load{})
		before = after
		return d.Limiter == LimitPacing
	}, func() { t.Errorf("%v: %+v %+v", d, d, after) })
}
