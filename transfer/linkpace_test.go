package transfer

import (
	"testing"
	"time"
)

// However many streams share a link, and however their writes overlap, what is
// measured is the link: 10 MB/s here.
func TestLinkPace(t *testing.T) {
	const rate = 10_000_000
	for streams := 1; streams <= MaxStreams; streams++ {
		var p linkPace
		now := time.Unix(1000, 0)
		// Each writes a megabyte again and again, and they begin one after the
		// other; a write takes as many times as long as there are others.
		one := time.Second / 10
		writes := make([]writing, streams)
		for i := range writes {
			writes[i] = p.begin(now)
			now = now.Add(one)
		}
		for round := range 40 {
			i := round % streams
			p.end(now, writes[i], rate/10)
			writes[i] = p.begin(now)
			now = now.Add(one)
		}
		got := float64(p.rate.Load())
		if got < 0.9*rate || got > 1.25*rate {
			t.Errorf("%d streams: %.0f B/s, want %d", streams, got, rate)
		}
	}
	// And a stream that writes alone is not taken for a part.
	var p linkPace
	now := time.Unix(1000, 0)
	for range 10 {
		w := p.begin(now)
		now = now.Add(time.Second)
		p.end(now, w, rate)
		now = now.Add(time.Minute)
	}
	if got := p.rate.Load(); got != rate {
		t.Errorf("alone: %d B/s", got)
	}
}
