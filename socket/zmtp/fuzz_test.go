package zmtp

import (
	"bufio"
	"bytes"
	"reflect"
	"testing"
)

// FuzzRead reads frames as they may arrive: what is read, written and read again
// is the same.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x01\x01a\x00\x00"))
	f.Add(command{"PING", []byte{0, 9, 'x'}}.append([]byte("\x02\x00\x00\x00\x00\x00\x00\x00\x01x")))
	f.Add([]byte("\x02\x7f\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		read := func(p []byte) (all [][][]byte) {
			c := conn{r: bufio.NewReader(bytes.NewReader(p))}
			for {
				frames, cmd, err := c.read(func() limits { return limits{10_000, 5} })
				if err != nil {
					return all
				}
				if cmd != nil {
					frames = [][]byte{[]byte(cmd.name), cmd.body, nil, nil, nil, nil}
				}
				all = append(all, frames)
			}
		}
		all := read(p)
		var out bytes.Buffer
		c := conn{w: bufio.NewWriter(&out)}
		for _, m := range all {
			if len(m) == 6 {
				_, _ = c.w.Write(command{string(m[0]), m[1]}.append(nil))
				continue
			}
			size := 0
			for _, f := range m {
				size += len(f)
			}
			if size > 10_000 || len(m) > 5 {
				t.Fatalf("%d bytes in %d frames", size, len(m))
			}
			if err := c.write(m); err != nil {
				t.Fatal(err)
			}
		}
		c.w.Flush()
		again := read(out.Bytes())
		for _, x := range [][][][]byte{all, again} { // nil and empty are one
			for _, m := range x {
				for i := range m {
					m[i] = append([]byte{}, m[i]...)
				}
			}
		}
		if !reflect.DeepEqual(all, again) {
			t.Fatalf("%q became %q", all, again)
		}
	})
}

// FuzzReady reads metadata and greetings.
func FuzzReady(f *testing.F) {
	f.Add(ready{typ: PUSH, identity: []byte("x")}.command().body)
	f.Add(appendGreeting(nil))
	f.Add([]byte("\xff"))
	f.Fuzz(func(t *testing.T, p []byte) {
		_, _ = parseGreeting(p)
		_ = reason(p)
		r, err := parseReady(p)
		if err != nil {
			return
		}
		again, err := parseReady(r.command().body)
		if err != nil || again.typ != r.typ || !bytes.Equal(again.identity, r.identity) {
			t.Fatalf("%v became %v, %v", r, again, err)
		}
	})
}
