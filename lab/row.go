package lab

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Status is how a run ended.
type Status string

// Statuses.
const (
	OK         Status = "ok"         // every byte arrived and was compared
	Incomplete Status = "incomplete" // bytes are missing, which udp:none admits
	Failed     Status = "failed"     // it did not end well; Row.Error says how
)

// A Row is what a run showed: a line of results.jsonl and of results.csv, with
// the same names in both, which stand in the tags. A pointer is nil, and its
// column empty, where the engine or the transport cannot know. Columns named
// *_wall* come from the wall clock; with the simulator nothing else differs
// between two runs of the same plan and seed.
type Row struct {
	Key    string     `json:"key"`
	Name   string     `json:"name"`
	Engine EngineName `json:"engine"`

	// What was asked for.
	Link      string    `json:"link"`
	RateBPS   int64     `json:"rate_bps"` // 0: no bottleneck
	DelayMS   float64   `json:"delay_ms"` // one way
	JitterMS  float64   `json:"jitter_ms"`
	Loss      float64   `json:"loss"` // each way, the mean in the long run
	Reorder   float64   `json:"reorder"`
	Duplicate float64   `json:"duplicate"`
	Corrupt   float64   `json:"corrupt"`
	Queue     int64     `json:"queue_bytes"` // 0: the default
	Transport Transport `json:"transport"`
	Repeat    int       `json:"repeat"`
	Seed      uint64    `json:"seed"`
	FileBytes int64     `json:"file_bytes"`

	// What came of it.
	Status      Status   `json:"status"`
	Error       string   `json:"error"`
	Seconds     float64  `json:"seconds"`     // from the dial to the last byte
	GoodputBPS  float64  `json:"goodput_bps"` // bits of the file a second
	Utilisation *float64 `json:"utilisation"` // goodput over the link's rate
	Missing     int64    `json:"missing_bytes"`
	Limiter     string   `json:"limiter"` // what held the sender back the longest

	// As the sender counts.
	PacketsSent *int64 `json:"packets_sent"`
	PacketsLost *int64 `json:"packets_lost"` // deemed lost
	Retransmits *int64 `json:"retransmits"`
	Spurious    *int64 `json:"spurious"` // deemed lost, and acknowledged later

	// As the receiver of udp:none counts: RFC 4737's reordered packets, copies,
	// runs of lost ones, RFC 3550's jitter.
	Reordered    *int64   `json:"reordered"`
	Duplicates   *int64   `json:"duplicates"`
	LongestBurst *int64   `json:"longest_burst"`
	MeanBurst    *float64 `json:"mean_burst"`
	JitterSeenMS *float64 `json:"rfc3550_jitter_ms"`

	// As the link counts, from sender to receiver.
	LinkPackets   *int64   `json:"link_packets"`
	LinkLost      *int64   `json:"link_lost"`
	LinkTailDrops *int64   `json:"link_tail_drops"`
	LinkMaxQueue  *int64   `json:"link_max_queue_bytes"`
	QueueMedianMS *float64 `json:"queue_median_ms"`
	QueueP99MS    *float64 `json:"queue_p99_ms"`

	// Round trips, in milliseconds.
	RTTMinMS    *float64 `json:"rtt_min_ms"`
	RTTMedianMS *float64 `json:"rtt_median_ms"`
	RTTP99MS    *float64 `json:"rtt_p99_ms"`

	Version     string  `json:"version"`
	SecondsWall float64 `json:"seconds_wall"`
}

// newRow fills in what was asked for.
func newRow(r Run, version string) Row {
	l := r.Link
	return Row{
		Key: r.Key(), Name: r.Plan.Name, Engine: r.Plan.Engine,
		Link: l.String(), RateBPS: int64(l.Rate), DelayMS: ms(l.Delay), JitterMS: ms(l.Jitter), Loss: l.MeanLoss(),
		Reorder: float64(l.Reorder), Duplicate: float64(l.Duplicate), Corrupt: float64(l.Corrupt), Queue: int64(l.Queue),
		Transport: r.Transport, Repeat: r.Repeat, Seed: r.Seed, FileBytes: int64(r.Plan.File.Size),
		Version: version,
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ptr[T any](v T) *T { return &v }

// counted is a counter as a column.
func counted[T ~uint64 | ~int | ~int64](v T) *int64 { return ptr(int64(v)) }

// timed says how long the run took, in the engine's time.
func (r *Row) timed(bytes int64, d time.Duration) {
	r.Seconds = d.Seconds()
	r.Missing = r.FileBytes - bytes
	if d > 0 {
		r.GoodputBPS = float64(bytes) * 8 / d.Seconds()
	}
	if r.RateBPS > 0 {
		r.Utilisation = ptr(r.GoodputBPS / float64(r.RateBPS))
	}
	switch {
	case r.Error != "":
		r.Status = Failed
	case r.Missing > 0:
		r.Status = Incomplete
	default:
		r.Status = OK
	}
}

// check refuses rows that no run writes, for the file may have been edited.
func (r *Row) check() error {
	if r.Key == "" || r.Transport == "" || r.Repeat < 1 {
		return fmt.Errorf("not a row of results")
	}
	return nil
}

// Columns are the names of a row's fields, in order.
func Columns() []string {
	t := reflect.TypeFor[Row]()
	s := make([]string, t.NumField())
	for i := range s {
		s[i] = t.Field(i).Tag.Get("json")
	}
	return s
}

// record is the row as text, a cell a column.
func (r *Row) record() []string {
	v := reflect.ValueOf(r).Elem()
	s := make([]string, v.NumField())
	for i := range s {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		switch f.Kind() {
		case reflect.Float64:
			s[i] = strconv.FormatFloat(f.Float(), 'g', -1, 64)
		case reflect.Int, reflect.Int64:
			s[i] = strconv.FormatInt(f.Int(), 10)
		case reflect.Uint64:
			s[i] = strconv.FormatUint(f.Uint(), 10)
		default:
			s[i] = unformula(f.String())
		}
	}
	return s
}

// unformula keeps a spreadsheet from taking a text for a formula: the name is
// whatever the plan says.
func unformula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

// WriteCSV writes the rows with a header (RFC 4180, but for LF).
func WriteCSV(w io.Writer, rows []Row) error {
	c := csv.NewWriter(w)
	if err := c.Write(Columns()); err != nil {
		return err
	}
	for i := range rows {
		if err := c.Write(rows[i].record()); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// WriteJSONL writes a row a line.
func WriteJSONL(w io.Writer, rows []Row) error {
	e := json.NewEncoder(w)
	for i := range rows {
		if err := e.Encode(&rows[i]); err != nil {
			return err
		}
	}
	return nil
}
