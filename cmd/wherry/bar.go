package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/socket/units"
	"github.com/wherry-net/wherry/transfer"
)

// A bar shows how far a transfer is: on a terminal a moving bar for the whole
// with the current file, its share, the rate and the time left; elsewhere a plain line every few seconds; with JSON an
// event a second.
type bar struct {
	p     *printer
	verb  string
	peer  string
	tag   string // what begins its lines where there are several
	total int64
	start time.Time

	pb      *progressbar.ProgressBar
	done    int64
	current *transfer.Entry
	inFile  int64
	shown   time.Time
}

const (
	plainEvery = 5 * time.Second
	eventEvery = time.Second
	barEvery   = 100 * time.Millisecond
)

type progressEvent struct {
	Event   string  `json:"event"`
	Peer    string  `json:"peer"`
	Bytes   int64   `json:"bytes"`
	Total   int64   `json:"total"`
	Path    string  `json:"path"`
	Seconds float64 `json:"seconds"`
}

// startBar begins a bar for total bytes with peer; -1 if nobody knows how many.
// Where several transfers may run at once, each is told line by line, with tag in
// front: bars that move would overwrite each other.
func (p *printer) startBar(verb, peer, tag string, total int64) *bar {
	b := &bar{p: p, verb: verb, peer: peer, tag: tag, total: total, start: time.Now()}
	b.shown = b.start
	if p.live && tag == "" {
		b.pb = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.io.Err),
			progressbar.OptionSetDescription(verb),
			progressbar.OptionShowBytes(true),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(barEvery),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionEnableColorCodes(false),
		)
	}
	p.mu.Lock()
	p.bars = append(p.bars, b)
	p.mu.Unlock()
	return b
}

// clearBars makes room for a line; p.mu is held.
func (p *printer) clearBars() {
	for _, b := range p.bars {
		b.clear()
	}
}

// stop ends the bar, which may be nil.
func (b *bar) stop() {
	if b == nil {
		return
	}
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	b.clear()
	b.p.bars = slices.DeleteFunc(b.p.bars, func(o *bar) bool { return o == b })
}

// moved tells the bar, which may be nil, of n more bytes.
func (b *bar) moved(e *transfer.Entry, n int) {
	if b == nil {
		return
	}
	p := b.p
	p.mu.Lock()
	b.done += int64(n)
	if e != b.current {
		b.current, b.inFile = e, 0
	}
	b.inFile += int64(n)
	now := time.Now()
	if b.pb != nil {
		if now.Sub(b.shown) >= barEvery {
			b.pb.Describe(b.verb + " " + b.file())
			b.shown = now
		}
		_ = b.pb.Set64(b.done)
		p.mu.Unlock()
		return
	}
	every := plainEvery
	if p.o.JSON || p.live {
		every = eventEvery
	}
	if now.Sub(b.shown) < every {
		p.mu.Unlock()
		return
	}
	b.shown = now
	event := progressEvent{"progress", b.peer, b.done, b.total, jsonName(e.Path), now.Sub(b.start).Seconds()}
	line := b.plain(now)
	p.mu.Unlock()
	p.Event(event)
	p.Say("%s%s", b.tag, line)
}

// file is the current file with its own share.
func (b *bar) file() string {
	name := safetext.Truncate(b.current.Path, 40)
	if b.current.Size > 0 {
		return fmt.Sprintf("%s %d%%", name, min(100, 100*b.inFile/b.current.Size))
	}
	return name
}

// plain is the bar as a line, for a terminal that is none.
func (b *bar) plain(now time.Time) string {
	rate := float64(b.done) / now.Sub(b.start).Seconds()
	if b.total <= 0 {
		return fmt.Sprintf("%s %s, %s, %s", b.verb, units.FormatBytes(b.done), formatRate(rate), b.file())
	}
	left := time.Duration(float64(b.total-b.done) / rate * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%s %s of %s (%d%%), %s, %v left, %s", b.verb, units.FormatBytes(b.done), units.FormatBytes(b.total),
		100*b.done/b.total, formatRate(rate), left, b.file())
}

func (b *bar) clear() {
	if b.pb != nil {
		_ = b.pb.Clear()
	}
}

// formatRate is bytes per second in the decimal bits that links are sold in.
func formatRate(bytesPerSecond float64) string {
	bits := bytesPerSecond * 8
	for _, u := range []struct {
		per  float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}} {
		if bits >= u.per {
			return fmt.Sprintf("%.3g %s", bits/u.per, u.name)
		}
	}
	return fmt.Sprintf("%.0f bit/s", bits)
}
