package psk

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

var key = sync.OnceValue(func() Key { return NewKey("one-two-three", "test") })

func session(t testing.TB) (comer, host *Session) {
	t.Helper()
	c := NewComer(key())
	host, welcome, err := Welcome(key(), c.Hello())
	if err != nil {
		t.Fatal(err)
	}
	comer, err = c.Welcomed(welcome)
	if err != nil {
		t.Fatal(err)
	}
	return comer, host
}

func TestSession(t *testing.T) {
	comer, host := session(t)
	for i := range 10 {
		for _, x := range [][2]*Session{{comer, host}, {host, comer}} {
			want := strings.Repeat("x", i*i)
			sealed := x[0].Seal(nil, []byte(want))
			if len(sealed) != len(want)+Overhead {
				t.Fatalf("%d bytes of %d", len(sealed), len(want))
			}
			got, err := x[1].Open(sealed)
			if err != nil || string(got) != want {
				t.Fatalf("%q, %v", got, err)
			}
		}
	}
}

// Nothing opens but what is next, and of this session, direction and key, and after
// anything else nothing at all.
func TestRefused(t *testing.T) {
	var first []byte
	for name, bad := range map[string]func(first, second, third, own []byte) []byte{
		"again":        func(first, _, _, _ []byte) []byte { return first },
		"out of order": func(_, _, third, _ []byte) []byte { return third },
		"cut":          func(_, second, _, _ []byte) []byte { return second[:len(second)-1] },
		"empty":        func(_, _, _, _ []byte) []byte { return nil },
		"changed": func(_, second, _, _ []byte) []byte {
			return append(second[:len(second)-1:len(second)-1], ^second[len(second)-1])
		},
		"our own": func(_, _, _, own []byte) []byte { return own },
	} {
		comer, host := session(t)
		first = comer.Seal(nil, []byte("first"))
		if _, err := host.Open(bytes.Clone(first)); err != nil {
			t.Fatal(err)
		}
		second, third := comer.Seal(nil, []byte("second")), comer.Seal(nil, []byte("third"))
		if _, err := host.Open(bytes.Clone(bad(first, second, third, host.Seal(nil, []byte("x"))))); !errors.Is(err, ErrSeal) {
			t.Errorf("%s: %v", name, err)
		}
		if p, err := host.Open(second); !errors.Is(err, ErrSeal) {
			t.Errorf("%s: after it %q, %v", name, p, err)
		}
	}
	_, other := session(t)
	if _, err := other.Open(bytes.Clone(first)); !errors.Is(err, ErrSecret) {
		t.Errorf("of another session: %v", err)
	}
}

func TestWrongSecret(t *testing.T) {
	for _, other := range []Key{NewKey("one-two-four", "test"), NewKey("one-two-three", "toast")} {
		c := NewComer(key())
		host, welcome, err := Welcome(other, c.Hello())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Welcomed(welcome); !errors.Is(err, ErrSecret) {
			t.Error(err)
		}
		// Who goes on all the same is known by its first message.
		comer, _ := session(t)
		if _, err := host.Open(comer.Seal(nil, []byte("hello"))); !errors.Is(err, ErrSecret) {
			t.Error(err)
		}
	}
	if s := fmt.Sprintf("%v %+v %#v %s", key(), key(), key(), key()); strings.Contains(s, fmt.Sprint(key().secret[0])) {
		t.Error(s)
	}
}

func FuzzHandshake(f *testing.F) {
	f.Add(NewComer(Key{}).Hello(), []byte("x"))
	f.Fuzz(func(t *testing.T, p, q []byte) {
		if s, w, err := Welcome(Key{}, p); err == nil {
			if len(p) != HelloSize || len(w) != WelcomeSize {
				t.Fatal(len(p), len(w))
			}
			if _, err := s.Open(bytes.Clone(q)); err == nil {
				t.Fatal("a guess opens")
			}
		}
		if _, err := NewComer(Key{}).Welcomed(p); err == nil {
			t.Fatal("a guess welcomes")
		}
	})
}

// FuzzSession has messages arrive as they are sealed, until one comes that was lost,
// repeated, changed or made up: nothing opens from there on.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0}, []byte("made up"))
	f.Add([]byte{0, 1, 0}, []byte{})
	f.Add([]byte{0, 0, 2, 0}, make([]byte, Overhead))
	f.Add([]byte{3, 0}, []byte("x"))
	f.Add([]byte{0, 4, 0}, []byte("x"))
	f.Fuzz(func(t *testing.T, fate, strange []byte) {
		c := NewComer(Key{})
		host, welcome, err := Welcome(Key{}, c.Hello())
		if err != nil {
			t.Fatal(err)
		}
		comer, err := c.Welcomed(welcome)
		if err != nil {
			t.Fatal(err)
		}
		var last []byte
		whole := true
		for i, x := range fate[:min(len(fate), 64)] {
			want := strings.Repeat(string(rune('a'+i%26)), i*int(x))
			b := comer.Seal(nil, []byte(want))
			sealed := bytes.Clone(b)
			switch x % 5 {
			case 1: // changed
				b[int(x)*i%len(b)] ^= 1 << (x & 7)
				whole = false
			case 2: // lost
				whole = false
				continue
			case 3: // made up
				b = bytes.Clone(strange)
				whole = false
			case 4: // the one before again
				if last != nil {
					b = bytes.Clone(last)
					whole = false
				}
			}
			last = sealed
			got, err := host.Open(b)
			switch {
			case whole && (err != nil || string(got) != want):
				t.Fatalf("message %d: %q, %v", i, got, err)
			case !whole && !errors.Is(err, ErrSeal) && !errors.Is(err, ErrSecret):
				t.Fatalf("message %d opens, behind one that did not: %q, %v", i, got, err)
			}
		}
	})
}
