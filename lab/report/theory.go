package report

import (
	"math"

	"github.com/wherry-net/wherry/lab"
	"github.com/wherry-net/wherry/lab/plot"
	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// What textbooks promise, in bits a second. Links are the same both ways.

const mss = 1448 // bytes of TCP's payload in an ordinary packet

// capacity is C(1−p): what is left of the rate when a share p is lost behind the
// bottleneck and sent again.
func capacity(l lab.Link) float64 {
	return float64(l.Rate) * (1 - l.MeanLoss())
}

// mathis is MSS/RTT·sqrt(3/2)/sqrt(p), the goodput of a Reno flow whose losses
// are random (Mathis, Semke, Mahdavi and Ott 1997), where the link does not end
// before. CUBIC falls back to it where it would do worse (RFC 9438, 4.3).
func mathis(l lab.Link) float64 {
	p, rtt := l.MeanLoss(), l.RTT().Seconds()
	if p == 0 || rtt == 0 {
		return capacity(l)
	}
	return min(mss*8/rtt*math.Sqrt(1.5/p), capacity(l))
}

// A textbook's frame on the wire, and what of it is the file's.
func frame(p *lab.Plan) (bits, share float64) {
	payload := float64(p.Payload)
	if payload == 0 {
		payload = 1200 // what the protocols take where nothing is said
	}
	const headers, ours = 28, 36 // IPv4 and UDP; our own
	return (payload + headers) * 8, (payload - ours) / (payload + headers)
}

// textbook is the goodput of a textbook protocol by its utilisation u, which is
// given a, the propagation time in frames, and the loss each way.
func textbook(p *lab.Plan, u func(a, loss float64) float64) func(lab.Link) float64 {
	bits, share := frame(p)
	return func(l lab.Link) float64 {
		if l.Rate == 0 {
			return math.NaN()
		}
		return float64(l.Rate) * share * u(l.Delay.Seconds()*float64(l.Rate)/bits, l.MeanLoss())
	}
}

// A theory is a curve in the charts of a plan.
type theory struct {
	name string
	slot int
	of   func(lab.Link) float64
}

// theoriesFor are the curves that have to do with the plan's transports. Those of
// a protocol have its colour.
func theoriesFor(p *lab.Plan) []theory {
	t := []theory{{"C(1−p)", plot.Slots - 2, capacity}}
	mathisDrawn := false
	window := p.Window
	if window == 0 {
		window = arq.DefaultWindow
	}
	for i, x := range p.Transports {
		switch x {
		case lab.TCPCubic, lab.TCPBBR, lab.UDPCubic:
			if !mathisDrawn {
				t = append(t, theory{"Mathis", plot.Slots - 1, mathis})
				mathisDrawn = true
			}
		case lab.StopAndWait:
			// Either of the frame and its acknowledgement may be lost.
			t = append(t, theory{"1/(1+2a)", i, textbook(p, func(a, loss float64) float64 {
				return sim.StopAndWaitUtilisation(a, 1-(1-loss)*(1-loss))
			})})
		case lab.GoBackN:
			t = append(t, theory{"go-back-N", i, textbook(p, func(a, loss float64) float64 {
				return sim.GoBackNUtilisation(a, loss, window)
			})})
		case lab.SelectiveRepeat:
			t = append(t, theory{"selective repeat", i, textbook(p, func(a, loss float64) float64 {
				return sim.SelectiveRepeatUtilisation(a, loss, window)
			})})
		}
	}
	return t
}
