package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// A Recording is what happened during one run, thinned out to what a plot can
// show: whatever the length of the run it takes a few hundred kilobytes at most.
// Times are seconds since the dial, sizes and offsets bytes.
type Recording struct {
	Key       string    `json:"key"`
	Link      string    `json:"link"`
	Transport Transport `json:"transport"`
	Repeat    int       `json:"repeat"`

	// The edges of the sender's window, as the textbooks name them, in bytes of
	// the stream: the oldest unacknowledged byte, the next to be sent first, the
	// end of what the peer allows.
	UNA Line `json:"una"`
	NXT Line `json:"nxt"`
	WND Line `json:"wnd"`
	// Sent and Again are the ends of what was sent for the first time and sent
	// again, SACKed those of what the receiver had before what precedes it.
	Sent   Line `json:"sent"`
	Again  Line `json:"again"`
	SACKed Line `json:"sacked"`

	InFlight    Line `json:"in_flight"`   // bytes sent and not heard of, peaks kept
	Outstanding Line `json:"outstanding"` // NXT−UNA, peaks kept
	Window      Line `json:"window"`      // the congestion window
	Queue       Line `json:"queue"`       // bytes before the bottleneck, peaks kept
	// Lost and TailDrops are when the link lost a packet and when its queue had
	// no room for one (true drops), Deemed when the sender took one for lost.
	// Their values are bytes in the queue, and the packet's number.
	Lost      Line `json:"lost"`
	TailDrops Line `json:"tail_drops"`
	Deemed    Line `json:"deemed"`

	RTT []float64 `json:"rtt_ms"` // a sample of the samples, in the order of time

	// CloseUp is every event around the first loss that the sender saw, or of
	// the beginning where there was none.
	CloseUp []Event `json:"close_up"`
	// Ladder is the first datagrams, each way.
	Ladder []Arrow `json:"ladder"`
}

// A Line is points in the order of time.
type Line struct {
	T []float64 `json:"t"`
	Y []float64 `json:"y"`
}

// An Event is something that happened to bytes From to To of the stream.
type Event struct {
	T    float64   `json:"t"`
	Kind EventKind `json:"kind"`
	From int64     `json:"from"`
	To   int64     `json:"to"`
}

// EventKind tells events apart.
type EventKind string

// Kinds of events. Of window edges only To counts.
const (
	EventSend  EventKind = "send"
	EventAgain EventKind = "again"
	EventSACK  EventKind = "sack"
	EventLost  EventKind = "lost" // deemed lost
	EventUNA   EventKind = "una"
	EventWND   EventKind = "wnd"
)

// An Arrow is a datagram in a ladder diagram.
type Arrow struct {
	Back    bool    `json:"back"` // from the receiver to the sender
	Label   string  `json:"label"`
	Again   bool    `json:"again"`
	Sent    float64 `json:"sent"`
	Arrived float64 `json:"arrived"` // negative where it did not
	Queue   bool    `json:"queue"`   // the queue dropped it
}

// maxRecording bounds the file of a recording.
const maxRecording = 32 << 20

func recordingName(dir, key string) string { return filepath.Join(dir, TracesDir, key+".json") }

// writeRecording keeps a recording beside the results.
func writeRecording(dir string, r *Recording) error {
	if err := os.Mkdir(filepath.Join(dir, TracesDir), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return WriteFile(recordingName(dir, r.Key), func(w io.Writer) error { return json.NewEncoder(w).Encode(r) })
}

// readRecording reads what writeRecording wrote; nil where there is none.
func readRecording(dir, key string) (*Recording, error) {
	f, err := os.Open(recordingName(dir, key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecording))
	if err != nil {
		return nil, err
	}
	r := new(Recording)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	for _, l := range r.lines() {
		n := min(len(l.T), len(l.Y)) // the file may have been edited
		l.T, l.Y = l.T[:n], l.Y[:n]
	}
	return r, nil
}

func (r *Recording) lines() []*Line {
	return []*Line{&r.UNA, &r.NXT, &r.WND, &r.Sent, &r.Again, &r.SACKed, &r.InFlight, &r.Outstanding, &r.Window, &r.Queue, &r.Lost, &r.TailDrops, &r.Deemed}
}

// A sampler thins points out as they come: when it is full it drops every second
// one and takes only every second from then on. It draws nothing, so the same
// points give the same sample.
type sampler struct {
	most   int
	peaks  bool // keep the largest of those it puts together, not the first
	t, y   []float64
	stride int
	n      int
}

func (s *sampler) add(t, y float64) {
	s.stride = max(s.stride, 1)
	first := s.n%s.stride == 0
	s.n++
	if !first {
		if last := len(s.y) - 1; s.peaks && y > s.y[last] {
			s.t[last], s.y[last] = t, y
		}
		return
	}
	if len(s.t) == s.most {
		half := len(s.t) / 2
		for i := range half {
			k := 2 * i
			if s.peaks && s.y[k+1] > s.y[k] {
				k++
			}
			s.t[i], s.y[i] = s.t[k], s.y[k]
		}
		s.t, s.y = s.t[:half], s.y[:half]
		s.stride *= 2
		s.n = half*s.stride + 1
	}
	s.t, s.y = append(s.t, t), append(s.y, y)
}

func (s *sampler) line() Line { return Line{T: s.t, Y: s.y} }

// seconds is d with microseconds, which is finer than any plot.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }
