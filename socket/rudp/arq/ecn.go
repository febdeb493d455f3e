package arq

// ecnState marks packets ECT(0) until the path proves that it eats the marks
// (RFC 9000, 13.4.2, without its testing phase).
type ecnState struct {
	off     bool
	valid   bool
	ect, ce uint32 // as last reported
	marked  uint64 // packets sent with a mark
	acked   uint64 // of those, acknowledged
}

// report takes the peer's counters, and returns the count of new marks.
func (e *ecnState) report(ect, ce uint32, newly int) (marks int) {
	if e.off {
		return 0
	}
	e.acked += uint64(newly)
	if d := int32(ect - e.ect); d > 0 {
		e.ect = ect
		e.valid = true
	}
	if d := int32(ce - e.ce); d > 0 {
		e.ce = ce
		e.valid = true
		// More marks than packets is a lie or a wrap: believe the packets.
		marks = min(int(d), newly)
	}
	if !e.valid && e.acked >= 64 {
		e.off = true
	}
	return marks
}
