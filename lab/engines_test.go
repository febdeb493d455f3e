package lab

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/trace"
)

// Every transport can be simulated; all but one deliver everything, and that one
// says what is missing.
func TestEveryTransport(t *testing.T) {
	var names []string
	for _, x := range Transports {
		names = append(names, string(x))
	}
	p := mustRead(t, "file: {size: 96KiB}\nwindow: 4\nlinks: [{rate: 4Mbit, delay: 5ms, loss: 5%}]\ntransports: ["+strings.Join(names, ", ")+"]\n")
	res, err := Execute(t.Context(), p, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		if r.Transport == None {
			if r.Status != Incomplete || r.Missing <= 0 || r.Missing > r.FileBytes/2 || *r.PacketsLost == 0 {
				t.Errorf("%s: %s, %d bytes missing, %d lost", r.Transport, r.Status, r.Missing, *r.PacketsLost)
			}
		} else if r.Status != OK || r.Missing != 0 {
			t.Errorf("%s: %s %s, %d bytes missing", r.Transport, r.Status, r.Error, r.Missing)
		}
		if *r.Utilisation <= 0 || *r.Utilisation > 1 || *r.LinkLost == 0 || *r.LinkPackets < *r.LinkLost {
			t.Errorf("%s: utilisation %v, %d of %d lost", r.Transport, *r.Utilisation, *r.LinkLost, *r.LinkPackets)
		}
		rec, err := res.Recording(r.Key)
		if err != nil || rec == nil {
			t.Fatalf("%s: %v", r.Transport, err)
		}
		if len(rec.Sent.T) == 0 || len(rec.CloseUp) == 0 || len(rec.Queue.T) == 0 || len(rec.Lost.T) == 0 || len(rec.Ladder) == 0 {
			t.Errorf("%s: a thin recording: %d sent, %d close, %d queue, %d lost, %d arrows", r.Transport, len(rec.Sent.T), len(rec.CloseUp), len(rec.Queue.T), len(rec.Lost.T), len(rec.Ladder))
		}
		if n := len(rec.UNA.Y); r.Transport != None && (n == 0 || rec.UNA.Y[n-1] < float64(r.FileBytes)*.9) {
			t.Errorf("%s: %d points of UNA", r.Transport, n)
		}
	}
	if cubic, ours := res.Rows[0], res.Rows[3]; cubic.Transport != TCPCubic || ours.Transport != UDPCubic || cubic.Seconds != ours.Seconds {
		t.Errorf("tcp:cubic and udp:cubic are the same in the simulator: %v and %v s", cubic.Seconds, ours.Seconds)
	}
}

// Stop-and-wait does in the laboratory what the books say, through all of plan,
// engine and row.
func TestStopAndWaitIsTheory(t *testing.T) {
	p := mustRead(t, "file: {size: 64KiB}\nlinks: [{rate: 1Mbit, delay: 50ms}]\ntransports: udp:stop-and-wait\n")
	res, err := Execute(t.Context(), p, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r := res.Rows[0]
	frame := 1228 * 8 / 1e6 // seconds
	want := sim.StopAndWaitUtilisation(.05/frame, 0) * float64(r.FileBytes) / (float64(*r.PacketsSent-1) * 1228)
	if math.Abs(*r.Utilisation/want-1) > .04 {
		t.Errorf("utilisation %.4f, the books say %.4f", *r.Utilisation, want)
	}
}

// Over loopback the library itself runs; how fast is not for a test to say.
func TestLoopback(t *testing.T) {
	p := mustRead(t, "engine: loopback\nseed: 3\nfile: {size: 200KiB, pattern: count}\nlinks: [{rate: 100Mbit, delay: 1ms, loss: 10%}]\ntransports: [udp, udp:cubic, udp:selective-repeat]\n")
	res, err := Execute(t.Context(), p, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		if r.Status != OK || r.GoodputBPS <= 0 || r.Missing != 0 {
			t.Errorf("%s: %s %s, %v bit/s", r.Transport, r.Status, r.Error, r.GoodputBPS)
			continue
		}
		if *r.LinkPackets == 0 || *r.LinkLost == 0 || *r.PacketsSent == 0 {
			t.Errorf("%s: %d packets, %d lost", r.Transport, *r.LinkPackets, *r.LinkLost)
		}
		rec, err := res.Recording(r.Key)
		if err != nil || rec == nil || len(rec.Sent.T) == 0 || len(rec.Ladder) == 0 {
			t.Errorf("%s: no recording: %v", r.Transport, err)
		}
	}
}

func TestLoopbackTCP(t *testing.T) {
	p := mustRead(t, "engine: loopback\nfile: {size: 100KiB}\nlinks: [{}, {rate: 100Mbit, delay: 1ms}]\ntransports: [tcp:cubic]\n")
	res, err := Execute(t.Context(), p, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res.Rows {
		// Not every system has CUBIC for everybody.
		if r.Status == Failed && strings.Contains(r.Error, "congestion") {
			t.Skipf("SKIPPED: %s", r.Error)
		}
		if r.Status != OK || r.GoodputBPS <= 0 {
			t.Errorf("%s: %s %s", r.Link, r.Status, r.Error)
		}
	}
}

// What an engine cannot do is told before anything is run.
func TestEngineCannot(t *testing.T) {
	for plan, want := range map[string]string{
		"engine: loopback\nfile: {size: 1}\nlinks: [{delay: 1ms, loss: 1%}]\ntransports: [tcp:cubic]\n": "plan.yaml: engine: on loopback a relay delays the kernel's TCP and no more, so tcp:cubic cannot go over 1ms, loss 1%; engine link does it",
		"engine: loopback\nfile: {size: 1}\nlinks: [{}]\ntransports: [udp:none]\n":                      "plan.yaml: engine: loopback has no udp:none; engine sim does",
	} {
		var mistakes PlanErrors
		if err := Check(mustRead(t, plan), Options{}); !errors.As(err, &mistakes) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// A recording made from a trace file is the one that the engine itself makes, as
// far as the file knows.
func TestReplay(t *testing.T) {
	run := mustRead(t, "seed: 5\nfile: {size: 300KiB}\nlinks: [{rate: 10Mbit, delay: 10ms, loss: 2%}]\ntransports: udp\n").Runs()[0]
	simulate := func(tell *arq.Trace) {
		t.Helper()
		udp, err := sim.ParseTransport("udp")
		if err != nil {
			t.Fatal(err)
		}
		link := netem.Config{Rate: run.Link.Rate, Delay: run.Link.Delay, Loss: run.Link.Loss, Overhead: headers}
		if _, err := sim.RunTransport(sim.TransportConfig{Transport: udp, Seed: run.Seed, Forward: link, Reverse: link, Bytes: int64(run.Plan.File.Size), Trace: tell}); err != nil {
			t.Fatal(err)
		}
	}
	direct := newRecorder()
	simulate(direct.sender(0))
	for _, format := range []trace.Format{trace.CSV, trace.Qlog} {
		var file bytes.Buffer
		log, err := trace.New(&file, format, trace.Header{Client: true}, trace.Options{Wait: true})
		if err != nil {
			t.Fatal(err)
		}
		simulate(log.UDP(trace.UDPConn{Protocol: "model"}))
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		in, err := trace.NewReader(&file)
		if err != nil {
			t.Fatal(err)
		}
		again := newRecorder()
		if err := again.replay(in); err != nil {
			t.Fatal(err)
		}
		a, b := direct.recording(run), again.recording(run)
		last := func(l Line) float64 { return l.Y[len(l.Y)-1] }
		if len(b.UNA.Y) == 0 || last(a.UNA) != last(b.UNA) || last(a.NXT) != last(b.NXT) {
			t.Errorf("format %v: UNA ends at %v, want %v", format, last(b.UNA), last(a.UNA))
		}
		if len(a.Again.T) == 0 || len(a.Again.T) != len(b.Again.T) || len(a.SACKed.T) != len(b.SACKed.T) || len(a.Deemed.T) != len(b.Deemed.T) {
			t.Errorf("format %v: %d sent again, %d SACKed, %d deemed lost; want %d, %d, %d", format,
				len(b.Again.T), len(b.SACKed.T), len(b.Deemed.T), len(a.Again.T), len(a.SACKed.T), len(a.Deemed.T))
		}
		if len(b.RTT) == 0 || len(b.Window.T) == 0 || len(b.InFlight.T) == 0 || len(b.CloseUp) == 0 {
			t.Errorf("format %v: %d round trips, %d windows, %d in flight, %d events", format, len(b.RTT), len(b.Window.T), len(b.InFlight.T), len(b.CloseUp))
		}
	}
}
