package sim

// The utilisation of a line in the textbooks: the share of the time in which
// it carries frames that arrive and are wanted. They are those of W. Stallings,
// Data and Computer Communications, 8th edition, appendix 7A ("Performance
// Issues"), where they are derived for
//
//   - frames of one size, and a sender that always has one to send;
//   - frames lost each by itself with probability p;
//   - acknowledgements that take no time on the line and are never lost;
//   - a timeout (or reject) exactly when the acknowledgement was due;
//   - a, the propagation time of the line in units of a frame's transmission
//     time, so that an acknowledgement is due 1+2a after a frame was begun;
//   - go-back-N: whoever goes back does so at once, in the midst of a frame;
//   - selective repeat: a window of w frames that are on their way. A window
//     that is counted from the oldest frame without an acknowledgement, as the
//     protocol has it, also stands still behind a loss. The formula is then
//     true without loss, with w = 1, and where the window is several times
//     1+2a; in between it is a bound.

// StopAndWaitUtilisation is (1-p)/(1+2a).
func StopAndWaitUtilisation(a, p float64) float64 { return (1 - p) / (1 + 2*a) }

// GoBackNUtilisation is (1-p)/(1+2ap) where the window w covers the round
// trip, and w(1-p)/((1+2a)(1-p+wp)) where it does not.
func GoBackNUtilisation(a, p float64, w int) float64 {
	if n := float64(w); n < 1+2*a {
		return n * (1 - p) / ((1 + 2*a) * (1 - p + n*p))
	}
	return (1 - p) / (1 + 2*a*p)
}

// SelectiveRepeatUtilisation is min(1, w/(1+2a))·(1-p).
func SelectiveRepeatUtilisation(a, p float64, w int) float64 {
	return min(1, float64(w)/(1+2*a)) * (1 - p)
}
