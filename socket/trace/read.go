package trace

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRecord bounds the memory for one event of a file.
const maxRecord = 16 << 20

// Reader reads a trace of either format, event by event. Both formats of one
// run read alike.
type Reader struct {
	// Header is empty for CSV.
	Header Header
	Format Format

	csv   *csv.Reader
	names []string // of the CSV file's columns
	line  int

	seq   *bufio.Reader
	known map[int]*Event
	rec   []byte
}

// NewReader finds out the format and reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	first, err := b.Peek(1)
	if err != nil {
		if err == io.EOF {
			err = errors.New("the file is empty")
		}
		return nil, fmt.Errorf("read a trace: %w", err)
	}
	if first[0] == recordSeparator {
		t := &Reader{Format: Qlog, seq: b, known: make(map[int]*Event)}
		if err := t.readHeader(); err != nil {
			return nil, fmt.Errorf("read a qlog trace: %w", err)
		}
		return t, nil
	}
	t := &Reader{Format: CSV, csv: csv.NewReader(b)}
	t.csv.ReuseRecord = true
	names, err := t.csv.Read()
	if err != nil || !slices.Contains(names, "time") || !slices.Contains(names, "event") {
		return nil, errors.New("read a trace: neither qlog JSON-SEQ nor a CSV file of wherry's")
	}
	t.names = slices.Clone(names)
	return t, nil
}

// Read reads a whole trace.
func Read(r io.Reader) ([]Event, error) {
	t, err := NewReader(r)
	if err != nil {
		return nil, err
	}
	var all []Event
	for {
		var e Event
		switch err := t.Next(&e); err {
		case nil:
			all = append(all, e)
		case io.EOF:
			return all, nil
		default:
			return all, err
		}
	}
}

// Next reads the next event into e, or returns [io.EOF]. Events of kinds that
// it does not know are passed over.
func (t *Reader) Next(e *Event) error {
	for {
		*e = Event{}
		t.line++
		err := t.next(e)
		if err == io.EOF {
			return err
		}
		if err != nil {
			return fmt.Errorf("read a trace: event %d: %w", t.line, err)
		}
		if e.Kind != 0 {
			return nil
		}
	}
}

func (t *Reader) next(e *Event) error {
	if t.csv != nil {
		return t.nextCSV(e)
	}
	rec, err := t.record()
	if err != nil {
		return err
	}
	return t.decode(rec, e)
}

func kindOf(name string) Kind {
	for k := Kind(1); k < kinds; k++ {
		if kindTable[k].name == name {
			return k
		}
	}
	return 0
}

func (t *Reader) nextCSV(e *Event) error {
	row, err := t.csv.Read()
	if err != nil {
		return err
	}
	for i, v := range row {
		if v == "" || i >= len(t.names) {
			continue
		}
		switch name := t.names[i]; name {
		case "time":
			var n int64
			n, err = parseFixed(v, 9)
			e.Time = time.Duration(n)
		case "conn":
			e.Conn, err = strconv.Atoi(v)
		case "event":
			e.Kind = kindOf(v)
		case "type":
			e.Type = strings.Clone(v)
		case "reason":
			e.Reason = strings.Clone(v)
		case "flags":
			e.Flags, err = parseFlags(v)
		case "ranges":
			e.Ranges, err = parseRanges(v)
		case "sacked":
			e.Sacked, err = parseRanges(v)
		default:
			err = e.set(name, v, 9)
		}
		if err != nil {
			return fmt.Errorf("column %s: %w", t.names[i], err)
		}
	}
	return nil
}

// set reads a numeric field; names that are unknown are passed over. decimals
// is how many a time has before it is nanoseconds.
func (e *Event) set(name, v string, decimals int) error {
	for i := range columns {
		c := &columns[i]
		if c.name != name {
			continue
		}
		if c.unit == count {
			decimals = 0
		}
		n, err := parseFixed(v, decimals)
		if err != nil {
			return err
		}
		*c.at(e), e.Has = n, e.Has|c.has
		return nil
	}
	return nil
}

// record reads the next record of a JSON text sequence. RFC 7464, 2.4: a record
// that was cut short, as a full disk leaves it, is the end.
func (t *Reader) record() ([]byte, error) {
	for {
		t.rec = t.rec[:0]
		for {
			part, err := t.seq.ReadSlice(recordSeparator)
			t.rec = append(t.rec, part...)
			if len(t.rec) > maxRecord {
				return nil, errors.New("a record is longer than 16 MiB")
			}
			if err == nil {
				t.rec = t.rec[:len(t.rec)-1]
				break
			}
			if err == io.EOF {
				if len(t.rec) > 0 && t.rec[len(t.rec)-1] == '\n' {
					break
				}
				return nil, io.EOF
			}
			if err != bufio.ErrBufferFull {
				return nil, err
			}
		}
		if len(bytes.TrimSpace(t.rec)) > 0 {
			return t.rec, nil
		}
	}
}

func (t *Reader) readHeader() error {
	rec, err := t.record()
	if err != nil {
		return err
	}
	var h qlogHeader
	if err := json.Unmarshal(rec, &h); err != nil {
		return err
	}
	if h.FileSchema != fileSchema {
		return fmt.Errorf("file schema %.60q is not %s", h.FileSchema, fileSchema)
	}
	t.Header = Header{Title: h.Title, Description: h.Description, Version: h.CodeVersion,
		Client: h.Trace.VantagePoint.Type == "client", Server: h.Trace.VantagePoint.Type == "server"}
	if w := h.Trace.CommonFields.ReferenceTime.WallClock; w != "" {
		if t.Header.Start, err = time.Parse(time.RFC3339Nano, w); err != nil {
			return err
		}
	}
	return nil
}

type qlogRecord struct {
	Time  json.Number     `json:"time"`
	Group string          `json:"group_id"`
	Name  string          `json:"name"`
	Data  json.RawMessage `json:"data"`
}

type qlogData struct {
	Header struct {
		PacketType   string `json:"packet_type"`
		PacketNumber *int64 `json:"packet_number"`
	} `json:"header"`
	Raw struct {
		Length *int64 `json:"length"`
	} `json:"raw"`
	Frames []struct {
		FrameType string `json:"frame_type"`
		Offset    *int64 `json:"offset"`
		Raw       struct {
			Length int64 `json:"payload_length"`
		} `json:"raw"`
	} `json:"frames"`
	Trigger       string                     `json:"trigger"`
	Reason        string                     `json:"reason"`
	PacketNumbers []int64                    `json:"packet_numbers"`
	New           json.RawMessage            `json:"new"`
	TimerType     string                     `json:"timer_type"`
	Local         qlogEndpoint               `json:"local"`
	Remote        qlogEndpoint               `json:"remote"`
	Own           map[string]json.RawMessage `json:"wherry"`
}

type qlogEndpoint struct {
	IPv4  string `json:"ip_v4"`
	IPv6  string `json:"ip_v6"`
	Port4 int    `json:"port_v4"`
	Port6 int    `json:"port_v6"`
}

func (p qlogEndpoint) String() string {
	if p.IPv6 != "" {
		return fmt.Sprintf("[%s]:%d", p.IPv6, p.Port6)
	}
	return fmt.Sprintf("%s:%d", p.IPv4, p.Port4)
}

// decode is the reverse of the encoder.
func (t *Reader) decode(rec []byte, e *Event) error {
	var r qlogRecord
	if err := json.Unmarshal(rec, &r); err != nil {
		return err
	}
	space, name, _ := strings.Cut(r.Name, ":")
	e.Kind = kindOf(name)
	if e.Kind == 0 || kindTable[e.Kind].space != space {
		e.Kind = 0
		return nil
	}
	n, err := parseFixed(r.Time.String(), 6)
	if err != nil {
		return fmt.Errorf("time: %w", err)
	}
	e.Time = time.Duration(n)
	if r.Group != "" {
		if e.Conn, err = strconv.Atoi(r.Group); err != nil {
			return fmt.Errorf("group_id: %w", err)
		}
	}
	var own map[string]json.RawMessage
	if space == "wherry" {
		err = json.Unmarshal(r.Data, &own)
	} else {
		own, err = e.decodeQuic(r.Data)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.Name, err)
	}
	for k, v := range own {
		if err := e.decodeOwn(k, v); err != nil {
			return fmt.Errorf("%s: %s: %w", r.Name, k, err)
		}
	}
	t.carry(e)
	return nil
}

// carry completes e with what is in effect, and remembers what it says.
func (t *Reader) carry(e *Event) {
	if mask := kindTable[e.Kind].state; mask != 0 {
		s := t.known[e.Conn]
		if s == nil {
			s = &Event{}
			t.known[e.Conn] = s
		}
		s.Has &^= e.Has & mask // what e says is the latest
		s.fill(e, mask)
		e.fill(s, mask)
	}
	if e.last() {
		delete(t.known, e.Conn)
	}
}

func (e *Event) decodeQuic(data []byte) (map[string]json.RawMessage, error) {
	var d qlogData
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, err
	}
	e.Type, _ = translate(packetTypes, 1, d.Header.PacketType)
	if d.Header.PacketNumber != nil {
		e.Packet, e.Has = *d.Header.PacketNumber, e.Has|HasPacket
	}
	if d.Raw.Length != nil {
		e.Size, e.Has = *d.Raw.Length, e.Has|HasSize
	}
	for _, f := range d.Frames {
		if f.FrameType == "stream" && f.Offset != nil {
			e.Offset, e.Length, e.Has = *f.Offset, f.Raw.Length, e.Has|HasOffset|HasLength
		}
	}
	switch e.Kind {
	case ConnectionStarted:
		e.Reason = d.Local.String() + " " + d.Remote.String()
	case StateUpdated:
		var state string
		if err := json.Unmarshal(d.New, &state); err != nil {
			return nil, err
		}
		var ok bool
		if e.Type, ok = translate(stateNames, 1, state); !ok {
			e.Type = state
		}
	case ConnectionClosed:
		e.Type, e.Reason = d.Trigger, d.Reason
	case PacketsAcked:
		for _, n := range d.PacketNumbers {
			if k := len(e.Ranges); k > 0 && e.Ranges[k-1].Last+1 == n {
				e.Ranges[k-1].Last = n
				continue
			}
			e.Ranges = append(e.Ranges, Range{n, n})
		}
	case PacketLost:
		e.Reason = d.Trigger
	case CongestionUpdated:
		if err := json.Unmarshal(d.New, &e.Type); err != nil {
			return nil, err
		}
	case TimerExpired:
		e.Type = d.TimerType
	case MTUUpdated:
		if err := json.Unmarshal(d.New, &e.Size); err != nil {
			return nil, err
		}
		e.Has |= HasSize
	case MetricsUpdated:
		var all map[string]json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil {
			return nil, err
		}
		for _, m := range metrics {
			if v := all[m.name]; v != nil {
				if err := e.set(columnOf(m.has).name, string(v), 6); err != nil {
					return nil, fmt.Errorf("%s: %w", m.name, err)
				}
			}
		}
	}
	return d.Own, nil
}

func (e *Event) decodeOwn(key string, v json.RawMessage) (err error) {
	text := func() (s string) {
		err = json.Unmarshal(v, &s)
		return s
	}
	switch key {
	case "type":
		e.Type = text()
	case "reason":
		e.Reason = text()
	case "flags":
		var flagErr error
		if e.Flags, flagErr = parseFlags(text()); err == nil {
			err = flagErr
		}
	case "ranges", "sacked":
		rs, rangeErr := parseRanges(text())
		if err == nil {
			err = rangeErr
		}
		if key == "ranges" {
			e.Ranges = rs
		} else {
			e.Sacked = rs
		}
	default:
		return e.set(key, string(v), 6)
	}
	return err
}
