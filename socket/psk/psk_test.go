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

// Nothing opens but what is next, and of this session, direction and key.
func TestRefused(t *testing.T) {
	comer, host := session(t)
	first := comer.Seal(nil, []byte("first"))
	if _, err := host.Open(bytes.Clone(first)); err != nil {
		t.Fatal(err)
	}
	second, third := comer.Seal(nil, []byte("second")), comer.Seal(nil, []byte("third"))
	for name, b := range map[string][]byte{
		"again": first, "out of order": third, "cut": second[:len(second)-1], "empty": nil,
		"changed": append(bytes.Clone(second[:len(second)-1]), second[len(second)-1]^1), "our own": host.Seal(nil, []byte("x")),
	} {
		if _, err := host.Open(bytes.Clone(b)); !errors.Is(err, ErrSeal) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, err := host.Open(second); err != nil || string(p) != "second" {
		t.Errorf("%q, %v", p, err)
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
