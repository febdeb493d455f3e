package pairing

import (
	"bytes"
	"context"
	"testing"
)

// datagramQueue is a DatagramConn to itself, in memory.
type datagramQueue struct {
	q    [][]byte
	next uint64
}

func (d *datagramQueue) MaxDatagramPayload() int              { return 1000 }
func (d *datagramQueue) FlushDatagrams(context.Context) error { return nil }
func (d *datagramQueue) ExpectDatagrams(uint64)               {}
func (d *datagramQueue) SendDatagram(_ context.Context, b []byte) error {
	d.q = append(d.q, bytes.Clone(b))
	return nil
}

func (d *datagramQueue) ReadDatagram(_ context.Context, b []byte) (int, uint64, error) {
	if len(d.q) == 0 {
		return 0, 0, context.DeadlineExceeded
	}
	n := copy(b, d.q[0])
	d.q = d.q[1:]
	d.next++
	return n, d.next, nil
}

// TestSealDatagrams: what one end seals the other opens; what was changed, what
// has another number, and what another connection sealed is dropped.
func TestSealDatagrams(t *testing.T) {
	a, b := paired(t)
	other, _ := paired(t)
	q := &datagramQueue{}
	seal := func(c *Conn) *SealedDatagrams {
		s, err := c.SealDatagrams(q)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	out, in, stranger := seal(a), seal(b), seal(other)
	send := func(s *SealedDatagrams, text string) {
		if err := s.SendDatagram(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"one", "two", "three", "four", "five", "six"} {
		send(out, text)
	}
	for _, d := range q.q {
		if bytes.Contains(d, []byte("o")) && len(d) < 10 {
			t.Fatal("in the clear")
		}
	}
	q.q[1][0] ^= 1                  // changed
	q.q[2], q.q[3] = q.q[3], q.q[2] // with each other's numbers
	q.q[4] = q.q[4][:len(q.q[4])-1] // cut off
	q.q = append(q.q, nil, make([]byte, 5), make([]byte, 2000))
	send(stranger, "not yours")
	buf := make([]byte, 3000)
	var got []string
	for {
		n, number, err := in.ReadDatagram(t.Context(), buf)
		if err != nil {
			break
		}
		if number != 1 && number != 6 {
			t.Errorf("datagram %d is taken", number)
		}
		got = append(got, string(buf[:n]))
	}
	if len(got) != 2 || got[0] != "one" || got[1] != "six" || in.Forged() != 8 {
		t.Errorf("%q, %d forged", got, in.Forged())
	}
	if n := in.MaxDatagramPayload(); n != 1000-16 {
		t.Errorf("%d bytes fit", n)
	}
}
