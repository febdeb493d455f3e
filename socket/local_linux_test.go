package socket

import "testing"

// The queue to an end on the same machine is bounded, unless somebody chose one.
func TestLimitLocalQueue(t *testing.T) {
	client, server := pair(t, Options{}, Options{SendBuffer: 100 << 10})
	before, _, _ := server.Buffers()
	if server.LimitLocalQueue() {
		t.Error("a buffer that was chosen is changed")
	}
	if after, _, _ := server.Buffers(); after != before {
		t.Errorf("a buffer that was chosen was %d and is %d", before, after)
	}
	_, receive, _ := client.Buffers()
	if !client.LimitLocalQueue() {
		t.Skip("this kernel does not tell whether a buffer was chosen")
	}
	if send, rcv, err := client.Buffers(); err != nil || send > 2*localQueue || send < localQueue/4 || rcv < receive {
		t.Errorf("buffers %d, %d (%d before), %v", send, rcv, receive, err)
	}
}
