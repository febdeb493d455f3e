package trace

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The schemas of a qlog trace. The private ones carry the month of their
// definition, as the main schema asks for.
const (
	fileSchema    = "urn:ietf:params:qlog:file:sequential"
	serialization = "application/qlog+json-seq"
	quicSchema    = "urn:ietf:params:qlog:events:quic-12"
	ownSchema     = "https://github.com/wherry-net/wherry/112026/wherry"
	ownExtension  = "https://github.com/wherry-net/wherry/112026/quic#wherry"
)

// recordSeparator begins each record of a JSON text sequence (RFC 7464).
const recordSeparator = 0x1e

type qlogHeader struct {
	FileSchema    string    `json:"file_schema"`
	Serialization string    `json:"serialization_format"`
	Title         string    `json:"title,omitempty"`
	Description   string    `json:"description,omitempty"`
	CodeVersion   string    `json:"code_version,omitempty"`
	Trace         qlogTrace `json:"trace"`
}

type qlogTrace struct {
	CommonFields qlogCommon  `json:"common_fields"`
	VantagePoint qlogVantage `json:"vantage_point"`
	EventSchemas []string    `json:"event_schemas"`
}

type qlogCommon struct {
	TimeFormat    string        `json:"time_format"`
	ReferenceTime qlogReference `json:"reference_time"`
}

type qlogReference struct {
	ClockType string `json:"clock_type"`
	Epoch     string `json:"epoch"`
	WallClock string `json:"wall_clock_time,omitempty"`
}

type qlogVantage struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// qlogEncoder writes a JSON text sequence. Of what is in effect from event to
// event it writes what has changed.
type qlogEncoder struct {
	head  []byte
	known map[int]*Event // the state of each connection as the file has it
}

func newQlogEncoder(h Header) *qlogEncoder {
	head := qlogHeader{
		FileSchema: fileSchema, Serialization: serialization,
		Title: h.Title, Description: h.Description, CodeVersion: h.Version,
		Trace: qlogTrace{
			CommonFields: qlogCommon{"relative_to_epoch", qlogReference{ClockType: "monotonic", Epoch: "unknown"}},
			VantagePoint: qlogVantage{"wherry", "unknown"},
			EventSchemas: []string{quicSchema, ownExtension, ownSchema},
		},
	}
	if !h.Start.IsZero() {
		head.Trace.CommonFields.ReferenceTime.WallClock = h.Start.UTC().Format(time.RFC3339Nano)
	}
	switch {
	case h.Client:
		head.Trace.VantagePoint.Type = "client"
	case h.Server:
		head.Trace.VantagePoint.Type = "server"
	}
	b, err := json.Marshal(head)
	if err != nil {
		panic(err) // there is nothing in it that can fail
	}
	return &qlogEncoder{append(append([]byte{recordSeparator}, b...), '\n'), make(map[int]*Event)}
}

func (q *qlogEncoder) header() []byte { return q.head }

// Names of our packets and states in QUIC's words.
var packetTypes = [][2]string{
	{"data", "1RTT"}, {"init", "initial"}, {"retry", "retry"},
	{"version", "version_negotiation"}, {"reset", "stateless_reset"},
}

var stateNames = [][2]string{
	{"handshake", "attempted"}, {"established", "handshake_complete"}, {"closing", "closing"}, {"done", "closed"},
}

// dropTriggers classify our reasons for dropping a packet.
var dropTriggers = map[string]string{
	"malformed": "invalid", "checksum": "invalid", "version": "unsupported", "unknown": "connection_unknown",
	"duplicate": "duplicate", "old": "duplicate", "no-room": "rejected", "closed": "connection_unknown",
	"out-of-order": "rejected",
}

var lossTriggers = map[string]bool{"reordering_threshold": true, "time_threshold": true, "pto_expired": true}

// translate finds a word in a table; from is 0 for ours, 1 for QUIC's.
func translate(table [][2]string, from int, word string) (string, bool) {
	for _, row := range table {
		if row[from] == word {
			return row[1-from], true
		}
	}
	return "", false
}

// native are the fields that a kind of event has in QUIC's schema.
func (k Kind) native() Field {
	switch k {
	case PacketSent, PacketReceived:
		return HasPacket | HasOffset | HasLength | HasSize
	case PacketLost:
		return HasPacket | HasOffset | HasLength
	case PacketDropped, MTUUpdated:
		return HasSize
	case MetricsUpdated:
		return HasRTT | HasSRTT | HasRTTVar | HasMinRTT | HasCwnd | HasInFlight | HasPacing
	}
	return 0
}

// metrics are the native names of the fields of recovery_metrics_updated.
var metrics = []struct {
	has  Field
	name string
}{
	{HasMinRTT, "min_rtt"}, {HasSRTT, "smoothed_rtt"}, {HasRTT, "latest_rtt"}, {HasRTTVar, "rtt_variance"},
	{HasCwnd, "congestion_window"}, {HasInFlight, "bytes_in_flight"}, {HasPacing, "pacing_rate"},
}

func columnOf(f Field) *column {
	for i := range columns {
		if columns[i].has == f {
			return &columns[i]
		}
	}
	return nil
}

func (q *qlogEncoder) append(b []byte, e *Event) []byte {
	b = append(b, recordSeparator)
	b = append(b, `{"time":`...)
	b = appendFixed(b, int64(e.Time), 6)
	if e.Conn != 0 {
		b = append(b, `,"group_id":"`...)
		b = strconv.AppendInt(b, int64(e.Conn), 10)
		b = append(b, '"')
	}
	t := &kindTable[e.Kind]
	b = append(b, `,"name":"`...)
	b = append(b, t.space...)
	b = append(b, ':')
	b = append(b, t.name...)
	b = append(b, `","data":{`...)
	o := object{b}
	if t.space == "wherry" {
		q.own(&o, e, false)
	} else {
		q.quic(&o, e)
		mark := len(o.b)
		o.open("wherry")
		if start := len(o.b); true {
			q.own(&o, e, true)
			if len(o.b) == start {
				o.b = o.b[:mark] // nothing to add
			} else {
				o.close()
			}
		}
	}
	if e.last() {
		delete(q.known, e.Conn)
	}
	return append(o.b, "}}\n"...)
}

// quic writes what QUIC's schema has.
func (q *qlogEncoder) quic(o *object, e *Event) {
	packet := func() {
		o.open("header")
		typ, ok := translate(packetTypes, 0, e.Type)
		if !ok {
			typ = "unknown"
		}
		o.text("packet_type", typ)
		if e.Has&HasPacket != 0 {
			o.int("packet_number", e.Packet)
		}
		o.close()
	}
	stream := func() {
		o.next()
		o.b = append(o.b, `{"frame_type":"stream","stream_id":0`...)
		o.int("offset", e.Offset)
		if e.Flags&Fin != 0 {
			o.yes("fin")
		}
		o.open("raw")
		o.int("payload_length", e.Length)
		o.close()
		o.b = append(o.b, '}')
	}
	switch e.Kind {
	case ConnectionStarted:
		local, remote, _ := strings.Cut(e.Reason, " ")
		o.endpoint("local", local)
		o.endpoint("remote", remote)
	case StateUpdated:
		state, ok := translate(stateNames, 0, e.Type)
		if !ok {
			state = e.Type
		}
		o.text("new", state)
	case ConnectionClosed:
		o.text("trigger", e.Type)
		if e.Reason != "" {
			o.text("reason", e.Reason)
		}
	case PacketSent, PacketReceived:
		packet()
		o.open("raw")
		o.int("length", e.Size)
		o.close()
		if e.Has&(HasOffset|HasDatagram) != 0 || e.Flags&(Ack|Close) != 0 {
			o.array("frames")
			if e.Flags&Ack != 0 {
				o.next()
				o.b = append(o.b, `{"frame_type":"ack"}`...)
			}
			if e.Has&HasOffset != 0 {
				stream()
			}
			if e.Has&HasDatagram != 0 {
				o.next()
				o.b = append(o.b, `{"frame_type":"datagram"}`...)
			}
			if e.Flags&Close != 0 {
				o.next()
				o.b = append(o.b, `{"frame_type":"connection_close"}`...)
			}
			o.b = append(o.b, ']')
		}
		if e.Flags&MTUProbe != 0 {
			o.yes("is_mtu_probe_packet")
		}
		if e.Flags&Probe != 0 && e.Kind == PacketSent {
			o.text("trigger", "pto_probe")
		}
	case PacketDropped:
		o.open("raw")
		o.int("length", e.Size)
		o.close()
		trigger, ok := dropTriggers[e.Reason]
		if !ok {
			trigger = "general"
		}
		o.text("trigger", trigger)
	case PacketsAcked:
		o.text("packet_number_space", "application_data")
		o.array("packet_numbers")
		for _, r := range e.Ranges {
			for n := r.First; n <= r.Last; n++ {
				o.next()
				o.b = strconv.AppendInt(o.b, n, 10)
			}
		}
		o.b = append(o.b, ']')
	case PacketLost:
		packet()
		if e.Has&HasOffset != 0 {
			o.array("frames")
			stream()
			o.b = append(o.b, ']')
		}
		if e.Flags&MTUProbe != 0 {
			o.yes("is_mtu_probe_packet")
		}
		if lossTriggers[e.Reason] {
			o.text("trigger", e.Reason)
		}
	case MetricsUpdated:
		state := q.state(e)
		for _, m := range metrics {
			if e.Has&m.has == 0 {
				continue
			}
			c := columnOf(m.has)
			o.number(m.name, *c.at(e), c.unit)
			if m.has&kindTable[e.Kind].state != 0 {
				*c.at(state) = *c.at(e)
				state.Has |= m.has
			}
		}
	case CongestionUpdated:
		o.text("new", e.Type)
	case TimerExpired:
		o.text("timer_type", e.Type)
		o.text("event_type", "expired")
	case MTUUpdated:
		o.int("new", e.Size)
	}
}

func (q *qlogEncoder) state(e *Event) *Event {
	s := q.known[e.Conn]
	if s == nil {
		s = &Event{}
		q.known[e.Conn] = s
	}
	return s
}

// own writes what QUIC's schema has no place for: with inQuic, only what quic
// has left.
func (q *qlogEncoder) own(o *object, e *Event, inQuic bool) {
	native := Field(0)
	if inQuic {
		native = e.Kind.native()
	}
	switch {
	case e.Type == "":
	case !inQuic, e.Kind == ConnectionStarted:
		o.text("type", e.Type)
	case e.Kind == PacketSent, e.Kind == PacketReceived, e.Kind == PacketLost:
		if _, ok := translate(packetTypes, 0, e.Type); !ok {
			o.text("type", e.Type)
		}
	}
	if e.Flags != 0 {
		o.text("flags", e.Flags.String())
	}
	state := kindTable[e.Kind].state
	var s *Event
	if state != 0 {
		s = q.state(e)
	}
	for i := range columns {
		c := &columns[i]
		if e.Has&c.has == 0 || native&c.has != 0 {
			continue
		}
		v := *c.at(e)
		if state&c.has != 0 {
			if s.Has&c.has != 0 && *c.at(s) == v {
				continue
			}
			s.Has |= c.has
			*c.at(s) = v
		}
		o.number(c.name, v, c.unit)
	}
	if len(e.Ranges) > 0 && !inQuic {
		o.text("ranges", string(appendRanges(nil, e.Ranges)))
	}
	if len(e.Sacked) > 0 {
		o.text("sacked", string(appendRanges(nil, e.Sacked)))
	}
	switch {
	case e.Reason == "", inQuic && (e.Kind == ConnectionClosed || e.Kind == ConnectionStarted), inQuic && e.Kind == PacketLost && lossTriggers[e.Reason]:
	default:
		o.text("reason", e.Reason)
	}
}

// object appends the members of a JSON object.
type object struct{ b []byte }

// next puts a comma where one is needed.
func (o *object) next() {
	if c := o.b[len(o.b)-1]; c != '{' && c != '[' {
		o.b = append(o.b, ',')
	}
}

func (o *object) key(k string) {
	o.next()
	o.b = append(o.b, '"')
	o.b = append(o.b, k...)
	o.b = append(o.b, `":`...)
}

func (o *object) open(k string)  { o.key(k); o.b = append(o.b, '{') }
func (o *object) array(k string) { o.key(k); o.b = append(o.b, '[') }
func (o *object) close()         { o.b = append(o.b, '}') }
func (o *object) yes(k string)   { o.key(k); o.b = append(o.b, "true"...) }

func (o *object) int(k string, n int64) {
	o.key(k)
	o.b = strconv.AppendInt(o.b, n, 10)
}

// number writes counts as they are and times in milliseconds.
func (o *object) number(k string, n int64, u unit) {
	o.key(k)
	if u == seconds {
		o.b = appendFixed(o.b, n, 6)
		return
	}
	o.b = strconv.AppendInt(o.b, n, 10)
}

func (o *object) text(k, s string) {
	o.key(k)
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			b, err := json.Marshal(s)
			if err != nil {
				b = []byte(`""`)
			}
			o.b = append(o.b, b...)
			return
		}
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, s...)
	o.b = append(o.b, '"')
}

func (o *object) endpoint(k, address string) {
	o.open(k)
	if a, err := netip.ParseAddrPort(address); err == nil {
		v := "v6"
		if a.Addr().Is4() {
			v = "v4"
		}
		o.text("ip_"+v, a.Addr().String())
		o.int("port_"+v, int64(a.Port()))
	}
	o.close()
}
