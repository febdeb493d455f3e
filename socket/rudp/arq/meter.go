package arq

import (
	"math"
	"math/bits"
	"time"
)

// DatagramReport says what a path did to the datagrams of a [NoARQ] sender,
// as the receiver saw it.
type DatagramReport struct {
	// Sent is how many the peer has sent, as far as is known: what it said
	// ([Conn.ExpectDatagrams]) or the highest number that arrived.
	Sent uint64
	// Received counts numbers, each once; Duplicates the further copies.
	Received, Duplicates uint64
	// Lost is Sent less Received.
	Lost uint64
	// Old arrived so late that nobody could tell whether they had arrived
	// before: 65536 numbers behind. They count as lost.
	Old uint64
	// Overflowed arrived and were dropped because nobody took them.
	Overflowed uint64

	// Bursts counts the runs of lost numbers by their length: Bursts[i] had
	// i+1, the last had that many or more. LongestBurst is the longest.
	Bursts       [32]uint64
	BurstCount   uint64
	LongestBurst uint64

	// Reordered counts those that arrived with a number smaller than one
	// that had arrived (RFC 4737, section 3); their share is of Received.
	// MaxExtent is the largest reordering extent (4.2.1): how many packets
	// earlier the first one arrived that should have come later, at most
	// 256.
	Reordered uint64
	MaxExtent uint64

	// Jitter is the mean deviation of the transit time between packets, as
	// RFC 3550 (6.4.1) smoothes it.
	Jitter time.Duration

	// DelayMin, DelayMean and DelayMax are of the time from the sender's
	// stamp to the arrival, each by its own clock: they hold the difference
	// between the clocks, which may make them negative. The differences
	// between them do not.
	DelayMin, DelayMean, DelayMax time.Duration
}

// LossRatio is Lost as a share of Sent.
func (r *DatagramReport) LossRatio() float64 {
	if r.Sent == 0 {
		return 0
	}
	return float64(r.Lost) / float64(r.Sent)
}

// MeanBurst is the mean length of a run of lost numbers.
func (r *DatagramReport) MeanBurst() float64 {
	if r.BurstCount == 0 {
		return 0
	}
	return float64(r.Lost) / float64(r.BurstCount)
}

// maxExtent is how many arrivals back reordering is measured.
const maxExtent = 256

// meter keeps a DatagramReport in fixed memory, whatever numbers come.
type meter struct {
	r       DatagramReport
	seen    [recvWindow / 64]uint64 // of the numbers [base, base+recvWindow)
	base    uint64                  // below it all is counted; 0 before the first
	run     uint64                  // numbers lost right below base
	highest uint64
	recent  [maxExtent]uint64 // the last arrivals
	transit time.Duration     // of the last
	jitter  float64
	sum     float64 // of delays, in ns
}

func (m *meter) bit(n uint64) (*uint64, uint64) {
	n %= recvWindow
	return &m.seen[n/64], 1 << (n % 64)
}

// arrived counts a datagram, and reports whether its number is new.
func (m *meter) arrived(n uint64, sent, at time.Duration) bool {
	if m.base == 0 {
		m.base = 1
	}
	if n < m.base {
		m.r.Old++
		return false
	}
	if n-m.base >= recvWindow {
		m.settle(n - recvWindow + 1)
	}
	w, bit := m.bit(n)
	if *w&bit != 0 {
		m.r.Duplicates++
		return false
	}
	*w |= bit
	m.order(n)
	m.timing(sent, at)
	return true
}

func (m *meter) duplicate() { m.r.Duplicates++ }
func (m *meter) overflow()  { m.r.Overflowed++ }

func (m *meter) expect(n uint64) { m.r.Sent = max(m.r.Sent, n) }

// order keeps RFC 4737's metrics. NextExp is highest+1.
func (m *meter) order(n uint64) {
	i := m.r.Received
	if n > m.highest {
		m.highest = n
	} else {
		m.r.Reordered++
		// The earliest arrival with a higher number.
		e := uint64(0)
		for back := uint64(1); back <= min(i, maxExtent); back++ {
			if m.recent[(i-back)%maxExtent] > n {
				e = back
			}
		}
		m.r.MaxExtent = max(m.r.MaxExtent, e)
	}
	m.recent[i%maxExtent] = n
	m.r.Received++
}

func (m *meter) timing(sent, at time.Duration) {
	transit := at - sent
	if m.r.Received == 1 {
		m.r.DelayMin, m.r.DelayMax = transit, transit
	} else {
		d := math.Abs(float64(transit - m.transit))
		m.jitter += (d - m.jitter) / 16
	}
	m.transit = transit
	m.r.DelayMin, m.r.DelayMax = min(m.r.DelayMin, transit), max(m.r.DelayMax, transit)
	m.sum += float64(transit)
}

// settle counts all numbers below to for good.
func (m *meter) settle(to uint64) {
	for end := min(to, m.base+recvWindow); m.base < end; m.base++ {
		w, bit := m.bit(m.base)
		if *w&bit != 0 {
			*w &^= bit
			m.r.burst(m.run)
			m.run = 0
		} else {
			m.run++
		}
	}
	if m.base < to {
		m.run += to - m.base
		m.base = to
	}
}

func (r *DatagramReport) burst(n uint64) {
	if n == 0 {
		return
	}
	r.BurstCount++
	r.Bursts[min(n, uint64(len(r.Bursts)))-1]++
	r.LongestBurst = max(r.LongestBurst, n)
}

// report is what is known now: what is missing up to the highest number counts
// as lost.
func (m *meter) report() DatagramReport {
	r := m.r
	r.Sent = max(r.Sent, m.highest)
	r.Lost = r.Sent - r.Received
	run := m.run
	n, end := max(m.base, 1), min(m.base+recvWindow, m.highest+1)
	for n < end {
		w, bit := m.bit(n)
		if *w == 0 && bit == 1 && end-n >= 64 {
			run += 64
			n += 64
			continue
		}
		if *w&bit != 0 {
			r.burst(run)
			run = 0
			// The rest of the word at once where all of it arrived.
			if k := uint64(bits.TrailingZeros64(^(*w >> (n % 64)))); k > 1 {
				n += min(k, end-n, 64-n%64)
				continue
			}
		} else {
			run++
		}
		n++
	}
	run += r.Sent - m.highest
	r.burst(run)
	r.Jitter = time.Duration(m.jitter)
	if r.Received > 0 {
		r.DelayMean = time.Duration(m.sum / float64(r.Received))
	}
	return r
}
