package report

import (
	"math"

	"github.com/wherry-net/wherry/lab"
)

// What textbooks promise, in bits a second of everything that is on the wire; the
// headers come off that. Links are the same both ways.

const (
	frameBits = 1500 * 8 // an ordinary packet with its headers
	mss       = 1448     // bytes of TCP's payload in it
)

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

// stopAndWait is C/(1+2a) without loss, a being the propagation time in frames;
// every loss, of the frame or of its acknowledgement, costs that time again.
func stopAndWait(l lab.Link) float64 {
	if l.Rate == 0 {
		return math.NaN()
	}
	frame := frameBits / float64(l.Rate)
	a := l.Delay.Seconds() / frame
	p := l.MeanLoss()
	return float64(l.Rate) / (1 + 2*a) * (1 - p) * (1 - p)
}

// theories that belong into a chart of the plan.
type theory struct {
	name string
	of   func(lab.Link) float64
}

func theoriesFor(p *lab.Plan) []theory {
	t := []theory{{"C(1−p)", capacity}}
	var tcp, textbook bool
	for _, x := range p.Transports {
		tcp = tcp || x.IsTCP() || x == lab.UDPCubic
		textbook = textbook || x == lab.StopAndWait
	}
	if tcp {
		t = append(t, theory{"Mathis", mathis})
	}
	if textbook {
		t = append(t, theory{"stop-and-wait (1−p)²/(1+2a)", stopAndWait})
	}
	return t
}
