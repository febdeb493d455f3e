package arq

import (
	"bytes"
	"testing"
	"time"
)

// FuzzDissect: no datagram makes it panic, and what is taken apart whole is
// covered by the fields from end to end.
func FuzzDissect(f *testing.F) {
	packet := func(typ packetType, body []byte) []byte {
		b := make([]byte, headerLen, headerLen+len(body))
		putHeader(b, header{version: Version, typ: typ, dest: 1, number: 2})
		return append(b, body...)
	}
	var a ackState
	a.init()
	for _, n := range []uint64{0, 1, 2, 5, 9, 10, 400} {
		a.record(0, n, CE, true)
	}
	f.Add(packet(typeData, a.append(appendWindow([]byte{byte(framePing)}, 9), time.Second, 1000)))
	f.Add(packet(typeData, appendClose(appendSender(nil, 7, 64, time.Millisecond), 3, true, "gone")))
	f.Add(packet(typeData, []byte{1, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 'x', 0, 0}))
	f.Add(packet(typeInit, append(appendParams(nil, params{window: 1, maxDatagram: 1472}), 0, 1, 7, 0, 0)))
	o := opening{source: 5, peer: params{window: 1, maxDatagram: 1472, arq: ModelARQ}, cookie: []byte("a cookie")}
	f.Add(packet(typeOpen, append(appendOpening(nil, o), byte(framePing), 0, 0)))
	f.Add(packet(typeRetry, appendGrant(nil, grant{peer: o.peer, echo: 7, cookie: o.cookie})))
	f.Add(packet(typeVersion, []byte{1, 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		Seal(b)
		fields, ok := Dissect(b)
		if !ok {
			return
		}
		at := 0
		for _, d := range fields {
			if d.Name == "wherry.malformed" {
				return
			}
			if d.Size == 0 {
				continue
			}
			if d.Offset != at {
				t.Fatalf("%s is at %d, the field before it ends at %d", d.Name, d.Offset, at)
			}
			at += d.Size
		}
		if at != len(b) {
			t.Fatalf("%d of %d bytes are shown", at, len(b))
		}
	})
}
