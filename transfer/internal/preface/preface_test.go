package preface

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

func TestSniff(t *testing.T) {
	for in, want := range map[string]Kind{
		"WHERRY/1rest": Plain, "WHERRY/1": Plain, "\x16\x03\x01rest": TLS, "\x15\x03": TLS,
		"WHERRY/2": Unknown, "\x16\x04": Unknown, "W\x03": Unknown, "x": Unknown,
	} {
		for _, oneByte := range []bool{false, true} {
			d, l := net.Pipe()
			go func() {
				if oneByte {
					for i := range in {
						io.WriteString(d, in[i:i+1])
					}
				} else {
					io.WriteString(d, in)
				}
				d.Close()
			}()
			kind, conn, err := Sniff(l)
			if err != nil || kind != want {
				t.Errorf("Sniff(%q) = %v, %v; want %v", in, kind, err, want)
			}
			if got, err := io.ReadAll(conn); err != nil || string(got) != in {
				t.Errorf("after Sniff(%q) one reads %q, %v", in, got, err)
			}
		}
	}
	for in, want := range map[string]error{"": io.EOF, "W": io.ErrUnexpectedEOF, "WHERRY/": io.ErrUnexpectedEOF, "\x16": io.ErrUnexpectedEOF} {
		d, l := net.Pipe()
		go func() { io.WriteString(d, in); d.Close() }()
		if kind, _, err := Sniff(l); !errors.Is(err, want) || kind != Unknown {
			t.Errorf("Sniff(%q, then the end) = %v, %v; want %v", in, kind, err, want)
		}
	}
}

// A lateConn finds its first deadline for writing over before it has tried, as after
// the machine stood still.
type lateConn struct {
	net.Conn
	writes int
}

func (c *lateConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Write(b)
}

func TestRefuse(t *testing.T) {
	for _, late := range []bool{false, true} {
		d, l := net.Pipe()
		conn := l
		if late {
			conn = &lateConn{Conn: l}
		}
		go Refuse(conn, WantCode)
		b := make([]byte, RefusalLen)
		if _, err := io.ReadFull(d, b); err != nil {
			t.Error(err)
		}
		if r, ok := ParseRefusal(b); !ok || r != WantCode {
			t.Errorf("late: %v: it reads %q", late, b)
		}
		d.Close()
	}
}

func FuzzSniff(f *testing.F) {
	f.Add([]byte("WHERRY/1E\x02"))
	f.Add([]byte("\x16\x03\x01\x00\xee"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, l := net.Pipe()
		go func() { d.Write(b); d.Close() }()
		_, conn, _ := Sniff(l)
		got, _ := io.ReadAll(conn)
		if kind, more := Classify(b); !more && !bytes.Equal(got, b) {
			t.Fatalf("%v: %q reads back as %q", kind, b, got)
		}
		if r, ok := ParseRefusal(b); ok && !bytes.HasPrefix(b, AppendRefusal(nil, r)) {
			t.Fatalf("%q is no refusal", b)
		}
	})
}
