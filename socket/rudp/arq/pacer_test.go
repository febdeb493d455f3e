package arq

import (
	"testing"
	"time"
)

// TestPacerLate: an owner that comes 2 ms late every time still sends at the rate,
// and one that comes in time never sends more than maxBurst at once.
func TestPacerLate(t *testing.T) {
	const rate, size = 12.5e6, 1472
	for _, late := range []time.Duration{0, 2 * time.Millisecond} {
		p := pacer{rate: rate}
		now, sent := time.Duration(0), 0
		for now < time.Second {
			p.late = late
			p.refill(now, size)
			burst := 0
			for p.ready(size) {
				p.spend(size)
				burst += size
			}
			sent += burst
			if most := rate*(maxBurst+late).Seconds() + size; float64(burst) > most {
				t.Fatalf("%v late: %d bytes at once, want at most %.0f", late, burst, most)
			}
			now = p.release(now, size) + late
		}
		if got := float64(sent) / now.Seconds(); got < .97*rate || got > 1.01*rate {
			t.Errorf("%v late: %.0f bytes/s, want %.0f", late, got, rate)
		}
	}
}
