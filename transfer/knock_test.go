package transfer

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"
)

// Whatever comes first, Knock ends, and what it lets through is all still there.
func FuzzKnock(f *testing.F) {
	f.Add(newWire().bytes())
	f.Add([]byte("\x16\x03\x01\x00\xee"))
	f.Add([]byte("WHERRY/1E\x02"))
	f.Add([]byte("GET / HTTP/1.1"))
	f.Add([]byte("WHERRY/1H\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() { _, _ = theirs.Write(b); theirs.Close() }()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		conn, err := Knock(ctx, ours, Receiving)
		if err != nil {
			mustBeSafe(t, err.Error())
			return
		}
		defer conn.Close()
		if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%q reads again as %q (%v)", b, got, err)
		}
	})
}
