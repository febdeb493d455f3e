package sockettest

import (
	"fmt"
	"net"
	"testing"
)

// Nobody is given a port twice while it is somebody's, and each can be listened on.
func TestFreePorts(t *testing.T) {
	had := map[uint16]bool{}
	for range 50 {
		for _, p := range FreePorts(t) {
			if had[p] {
				t.Fatalf("port %d twice", p)
			}
			had[p] = true
			l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				t.Fatal(err)
			}
			l.Close()
		}
	}
}
