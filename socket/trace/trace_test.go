package trace_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wherry-net/wherry/socket/netem"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
	"github.com/wherry-net/wherry/socket/trace"
)

// simulate runs two flows over a bad link and returns the trace of the first,
// both ends in one file, and the end's statistics.
func simulate(t testing.TB, f trace.Format, seed uint64, bytes_ int64) ([]byte, *sim.Result) {
	return simulateARQ(t, f, seed, bytes_, arq.ModelARQ)
}

func simulateARQ(t testing.TB, f trace.Format, seed uint64, bytes_ int64, protocol arq.ARQ) ([]byte, *sim.Result) {
	t.Helper()
	var b bytes.Buffer
	l, err := trace.New(&b, f, trace.Header{Title: "simulation"}, trace.Options{Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	link := netem.Config{Rate: 20e6, Delay: 15 * time.Millisecond, Loss: .03, Reorder: .01, Duplicate: .01, Corrupt: .005, Overhead: 28}
	a, z := netip.MustParseAddrPort("10.0.0.0:1"), netip.MustParseAddrPort("[2001:db8::1]:2")
	cfg := sim.Config{Seed: seed, Forward: link, Reverse: link, Flows: []sim.Flow{{Bytes: bytes_,
		Client: arq.Config{ARQ: protocol, Window: 32, Trace: l.UDP(trace.UDPConn{Local: a, Remote: z, Protocol: "model"})},
		Server: arq.Config{Trace: l.UDP(trace.UDPConn{Local: z, Remote: a, Protocol: "model"})},
	}, {Bytes: bytes_, Client: arq.Config{Congestion: arq.Cubic}}}}
	r, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), r
}

// TestRepeats: one seed gives one trace, to the byte, in either format.
func TestRepeats(t *testing.T) {
	for _, f := range []trace.Format{trace.CSV, trace.Qlog} {
		a, _ := simulate(t, f, 1, 1e6)
		b, _ := simulate(t, f, 1, 1e6)
		c, _ := simulate(t, f, 2, 1e6)
		if !bytes.Equal(a, b) {
			t.Error("the same seed gave different traces")
		}
		if bytes.Equal(a, c) {
			t.Error("another seed gave the same trace")
		}
	}
}

// TestAgrees: the trace counts what the connection counts.
func TestAgrees(t *testing.T) {
	for seed, protocol := range []arq.ARQ{arq.ModelARQ, arq.ModelARQ, arq.ModelARQ, arq.StopAndWait, arq.GoBackN, arq.SelectiveRepeat} {
		file, r := simulateARQ(t, trace.CSV, uint64(seed), 1e6, protocol)
		events, err := trace.Read(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range []arq.Stats{r.Flows[0].Client, r.Flows[0].Server} {
			var n struct{ sent, lost, spurious, again, acked, received, ptos, acks uint64 }
			var bytesSent, una uint64
			dropped := map[string]uint64{}
			samples := uint64(0)
			for _, e := range events {
				if e.Conn != i+1 {
					continue
				}
				switch e.Kind {
				case trace.PacketSent:
					if e.Type == "data" {
						n.sent++
						bytesSent += uint64(e.Size)
					}
					if e.Flags&trace.Retransmit != 0 {
						n.again++
					}
					if e.Flags&trace.Ack != 0 && e.Flags&trace.Close == 0 {
						n.acks++
					}
				case trace.PacketReceived:
					n.received++
				case trace.PacketLost:
					n.lost++
				case trace.SpuriousLoss:
					n.spurious++
				case trace.PacketsAcked:
					for _, g := range e.Ranges {
						n.acked += uint64(g.Last - g.First + 1)
					}
					una = uint64(e.UNA)
				case trace.TimerExpired:
					n.ptos++
				case trace.PacketDropped:
					dropped[e.Reason]++
				case trace.MetricsUpdated:
					if e.Has&trace.HasRTT != 0 {
						samples++
					}
				case trace.Missed:
					t.Fatal("events are missing")
				}
			}
			for _, c := range []struct {
				what      string
				got, want uint64
			}{
				{"packets sent", n.sent, s.PacketsSent},
				{"bytes sent", bytesSent, s.BytesSent},
				{"packets received", n.received, s.PacketsReceived},
				{"packets lost", n.lost, s.PacketsLost},
				{"spurious losses", n.spurious, s.PacketsSpurious},
				{"packets acked", n.acked, s.PacketsAcked + s.PacketsSpurious},
				{"retransmits", n.again, s.Retransmits},
				{"probe timeouts", n.ptos, s.ProbeTimeouts},
				{"ACKs sent", n.acks, s.AcksSent},
				{"stream acknowledged", una, s.StreamSent},
				{"duplicates", dropped["duplicate"], s.Dropped[arq.DropDuplicate]},
				{"bad checksums", dropped["checksum"], s.Dropped[arq.DropChecksum]},
			} {
				if c.got != c.want {
					t.Errorf("seed %d, %v, end %d: %s: %d in the trace, %d in the statistics", seed, protocol, i, c.what, c.got, c.want)
				}
			}
			if i == 0 && (n.lost == 0 || n.again == 0 || samples == 0) {
				t.Errorf("nothing was lost, sent again or sampled: %+v", n)
			}
		}
	}
}

// TestState: what events say of the state is consistent.
func TestState(t *testing.T) {
	file, _ := simulate(t, trace.CSV, 3, 3e6)
	events, err := trace.Read(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var last time.Duration
	var una, nxt, wnd int64
	inFlight := map[int64]int64{} // by packet number
	var sum int64
	settle := func(n int64) { sum -= inFlight[n]; delete(inFlight, n) }
	checked := 0
	for i, e := range events {
		if e.Time < last {
			t.Fatalf("event %d: time runs back from %v to %v", i, last, e.Time)
		}
		last = e.Time
		if e.Conn != 1 || e.Has&trace.HasUNA == 0 {
			continue
		}
		if e.UNA < una || e.NXT < nxt || e.WND < wnd || e.UNA > e.NXT || e.NXT > e.WND {
			t.Fatalf("event %d: edges %d %d %d after %d %d %d", i, e.UNA, e.NXT, e.WND, una, nxt, wnd)
		}
		una, nxt, wnd = e.UNA, e.NXT, e.WND
		switch e.Kind {
		case trace.PacketSent:
			if e.Has&trace.HasPacket != 0 && (e.Has&trace.HasOffset != 0 || e.Flags&trace.MTUProbe != 0) {
				inFlight[e.Packet] = e.Size
				sum += e.Size
			}
		case trace.PacketLost:
			settle(e.Packet)
		case trace.PacketsAcked:
			for _, r := range e.Ranges {
				for n := r.First; n <= r.Last; n++ {
					settle(n)
				}
			}
			for k, s := range e.Sacked {
				if s.First > s.Last || k > 0 && s.First <= e.Sacked[k-1].Last+1 {
					t.Fatalf("event %d: sacked %v", i, e.Sacked)
				}
			}
		}
		// Packets of control frames alone are in flight too; they are few and
		// short.
		if diff := e.InFlight - sum; diff < 0 || diff > 300 {
			t.Fatalf("event %d (%v): %d in flight, %d by the packets", i, e.Kind, e.InFlight, sum)
		}
		checked++
	}
	if checked < 1000 {
		t.Fatalf("only %d events have the sender's state", checked)
	}
}

// TestAlike: both formats of one run read the same.
func TestAlike(t *testing.T) {
	a, _ := simulate(t, trace.CSV, 5, 1e6)
	b, _ := simulate(t, trace.Qlog, 5, 1e6)
	x, err := trace.Read(bytes.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	y, err := trace.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i := range min(len(x), len(y)) {
		if !reflect.DeepEqual(x[i], y[i]) {
			t.Fatalf("event %d: CSV\n%+v\nqlog\n%+v", i, x[i], y[i])
		}
	}
	if len(x) != len(y) || len(x) == 0 {
		t.Fatalf("%d and %d events", len(x), len(y))
	}
}

var compiled struct {
	sync.Once
	s *jsonschema.Schema
}

func qlogSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	compiled.Do(func() { compiled.s = compileSchema(t) })
	if compiled.s == nil {
		t.Fatal("the schema does not compile")
	}
	return compiled.s
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile("qlog.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("qlog.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("qlog.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate checks framing (RFC 7464), schema and times of a qlog file, and
// returns how often each event occurs.
func validate(t testing.TB, file []byte) map[string]int {
	t.Helper()
	s := qlogSchema(t)
	seen := map[string]int{}
	last := -1.0
	for i, rec := range bytes.SplitAfter(file, []byte("\n")) {
		if len(rec) == 0 {
			continue
		}
		if rec[0] != 0x1e || bytes.Count(rec, []byte{0x1e}) != 1 {
			t.Fatalf("record %d is not framed: %q", i, rec)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(rec[1:]))
		if err != nil {
			t.Fatalf("record %d: %v: %q", i, err, rec)
		}
		if err := s.Validate(v); err != nil {
			t.Fatalf("record %d: %v: %q", i, err, rec)
		}
		m := v.(map[string]any)
		if i == 0 {
			if m["file_schema"] == nil {
				t.Fatalf("the first record is no header: %q", rec)
			}
			continue
		}
		at, err := m["time"].(json.Number).Float64()
		if err != nil || at < last {
			t.Fatalf("record %d: time %v after %v", i, m["time"], last)
		}
		last = at
		seen[m["name"].(string)]++
	}
	return seen
}

// TestSchema: what is written is qlog, and a run shows most events there are.
func TestSchema(t *testing.T) {
	file, _ := simulate(t, trace.Qlog, 7, 3e6)
	seen := validate(t, file)
	for _, want := range []string{"connection_started", "connection_state_updated", "connection_closed", "packet_sent", "packet_received",
		"packet_dropped", "packets_acked", "packet_lost", "recovery_metrics_updated", "congestion_state_updated", "mtu_updated"} {
		if seen["quic:"+want] == 0 {
			t.Errorf("no %s", want)
		}
	}
	for _, want := range []string{"send_window_updated", "receive_window_updated"} {
		if seen["wherry:"+want] == 0 {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(seen)
	}
}

// TestSchemaBites: the schema refuses what is not qlog of ours.
func TestSchemaBites(t *testing.T) {
	s := qlogSchema(t)
	for _, bad := range []string{
		`{}`,
		`{"time":1,"name":"quic:packet_sent"}`,
		`{"time":"1","name":"quic:packet_sent","data":{"header":{"packet_type":"1RTT"}}}`,
		`{"time":1,"name":"quic:packet_sent","data":{"header":{"packet_type":"data"}}}`,
		`{"time":1,"name":"quic:packet_sent","data":{"header":{"packet_type":"1RTT"},"payload":"x"}}`,
		`{"time":1,"name":"quic:packet_sent","data":{"header":{"packet_type":"1RTT"},"wherry":{"unheard_of":1}}}`,
		`{"time":1,"name":"quic:packet_lost","data":{"trigger":"bad luck"}}`,
		`{"time":1,"name":"quic:unheard_of","data":{}}`,
		`{"time":1,"name":"wherry:tcp_info","data":{"cwnd":"10"}}`,
		`{"file_schema":"urn:ietf:params:qlog:file:sequential","serialization_format":"application/qlog+json-seq","trace":{"event_schemas":[]}}`,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(bad))
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(v) == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

// arbitrary makes up an event that its kind can hold.
func arbitrary(rng *rand.Rand, kind trace.Kind, text string) trace.Event {
	n := func() int64 { return rng.Int64N(1 << 50) }
	some := func(f trace.Field) trace.Field { return f & trace.Field(rng.Uint32()) }
	const sender = trace.HasUNA | trace.HasNXT | trace.HasWND | trace.HasInFlight | trace.HasCwnd | trace.HasPacing | trace.HasBandwidth |
		trace.HasSRTT | trace.HasRTTVar | trace.HasMinRTT | trace.HasQueueDelay
	const receiver = trace.HasRcvRead | trace.HasRcvNXT | trace.HasRcvWND
	ranges := func() (rs []trace.Range) {
		at := int64(1)
		for range rng.IntN(4) {
			first := at + 1 + rng.Int64N(50)
			at = first + rng.Int64N(20)
			rs = append(rs, trace.Range{First: first, Last: at})
			at++
		}
		return rs
	}
	// Times are equal, so that the order is not in question.
	e := trace.Event{Kind: kind, Conn: 1, Time: 123456789, Reason: text}
	// The state of a connection is only ever completed, so all of it is here.
	switch kind {
	case trace.ConnectionStarted:
		e.Type, e.Reason = "udp model", "127.0.0.1:1 [2001:db8::1]:2"
	case trace.StateUpdated:
		e.Type, e.Reason = []string{"handshake", "established", "closing", "done"}[rng.IntN(4)], ""
	case trace.ConnectionClosed:
		e.Type = "error"
	case trace.PacketSent, trace.PacketReceived:
		e.Type = []string{"data", "init", "retry", "version", "reset"}[rng.IntN(5)]
		e.Flags = trace.Flags(rng.Uint32()) & 0x7f
		e.Has = trace.HasSize | some(trace.HasPacket|trace.HasAck)
		switch rng.IntN(3) {
		case 0:
			e.Has |= trace.HasOffset | trace.HasLength
		case 1:
			e.Has |= trace.HasDatagram
		}
		if e.Has |= sender; kind == trace.PacketReceived {
			e.Has = e.Has&^sender | receiver
		}
	case trace.PacketDropped:
		e.Has = trace.HasSize | receiver
	case trace.PacketsAcked:
		e.Has, e.Ranges, e.Sacked = trace.HasPacket|sender, append(ranges(), trace.Range{First: 500, Last: 500}), ranges()
	case trace.PacketLost:
		e.Type, e.Flags, e.Has = "data", trace.MTUProbe, trace.HasPacket|trace.HasOffset|trace.HasLength|sender
	case trace.SpuriousLoss:
		e.Type, e.Has = "data", trace.HasPacket|sender
	case trace.MetricsUpdated:
		e.Has = some(trace.HasRTT) | sender
	case trace.CongestionUpdated:
		e.Type, e.Has = "cruise", sender
	case trace.TimerExpired:
		e.Type, e.Has = "pto", trace.HasRetransmits|sender
	case trace.MTUUpdated:
		e.Has = trace.HasSize
	case trace.SendWindow:
		e.Has = sender
	case trace.ReceiveWindow:
		e.Has = receiver
	case trace.FrameWindow:
		e.Has = trace.HasFrames
	case trace.LinkPacket:
		e.Type, e.Has, e.Flags = "tail drop", some(trace.HasPacket)|trace.HasSize|trace.HasQueue, trace.CE
	case trace.TCPInfo:
		e.Has = sender | receiver | trace.HasRetransmits
	case trace.Progress:
		e.Has = trace.HasOffset | trace.HasLength
	case trace.Missed:
		e.Has, e.Reason = trace.HasRetransmits, ""
	}
	if e.Has&trace.HasFrames != 0 {
		e.FrameUNA, e.FrameNXT, e.FrameWND = n(), n(), n()
	}
	for f := trace.Field(1); f <= trace.HasDatagram; f <<= 1 {
		if e.Has&f != 0 {
			trace.SetField(&e, f, n())
		}
	}
	return e
}

var texts = []string{"", "plain", "comma, and \"quotes\"", "line\nbreak", "back\\slash", "café", "\x1b[31m\x1e"}

// FuzzRoundTrip: what is written of an event reads as the event again.
func FuzzRoundTrip(f *testing.F) {
	for k := range trace.Missed {
		f.Add(uint64(k), byte(k+1), "why, \"so\"")
	}
	for i, s := range texts {
		f.Add(uint64(i), byte(trace.ConnectionClosed), s)
	}
	f.Fuzz(func(t *testing.T, seed uint64, kind byte, text string) {
		if kind == 0 || trace.Kind(kind) > trace.Missed {
			return
		}
		text = strings.ToValidUTF8(strings.ReplaceAll(text, "\r", ""), "?")
		rng := rand.New(rand.NewPCG(seed, 1))
		var events []trace.Event
		for range 5 {
			events = append(events, arbitrary(rng, trace.Kind(kind), text))
		}
		for _, format := range []trace.Format{trace.CSV, trace.Qlog} {
			var b bytes.Buffer
			l, err := trace.New(&b, format, trace.Header{Start: time.Unix(5, 6).UTC(), Client: true}, trace.Options{Wait: true})
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				l.Add(&events[i])
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if format == trace.Qlog {
				validate(t, b.Bytes())
			}
			got, err := trace.Read(bytes.NewReader(b.Bytes()))
			if err != nil {
				t.Fatalf("%v:\n%s", err, b.Bytes())
			}
			if !reflect.DeepEqual(got, events) {
				t.Fatalf("format %d: wrote\n%+v\nread\n%+v\n%s", format, events, got, b.Bytes())
			}
		}
	})
}

// FuzzRead: no file makes the reader panic, hang or take memory that the file
// does not pay for.
func FuzzRead(f *testing.F) {
	for _, format := range []trace.Format{trace.CSV, trace.Qlog} {
		file, _ := simulate(f, format, 1, 20000)
		f.Add(file[:min(len(file), 2<<10)])
	}
	f.Add([]byte("\x1e{}\n"))
	f.Add([]byte("time,event,ranges\n1,packets_acked,0-9223372036854775807\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		events, err := trace.Read(bytes.NewReader(file))
		if err == nil && len(events) > len(file) {
			t.Fatalf("%d events in %d bytes", len(events), len(file))
		}
	})
}

func ExampleRead() {
	file := "time,event,packet,offset,length\n0.25,packet_sent,7,8400,1400\n"
	events, err := trace.Read(strings.NewReader(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	e := events[0]
	fmt.Println(e.Time, e.Kind, e.Packet, e.Offset+e.Length)
	// Output: 250ms packet_sent 7 9800
}
