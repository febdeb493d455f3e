package transfer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestOverwriteResume(t *testing.T) {
	const mib = 1 << 20
	content := pattern(9*mib + 777)
	src := filepath.Join(t.TempDir(), "f")
	write(t, src, content, 0o644, old)
	for _, c := range []struct {
		name  string
		there func() []byte
		moved int64
	}{
		{"one group differs", func() []byte { b := bytes.Clone(content); b[3*mib+5]++; return b }, mib},
		{"the last group differs", func() []byte { b := bytes.Clone(content); b[len(b)-1]++; return b }, 777},
		{"shorter", func() []byte { return content[:4*mib+100] }, int64(len(content)) - 4*mib},
		{"longer", func() []byte { return append(bytes.Clone(content), pattern(3*mib)...) }, 0},
		{"shifted by a byte", func() []byte { return append([]byte{1}, content...) }, int64(len(content))},
		{"equal", func() []byte { return content }, 0},
		{"empty", func() []byte { return nil }, int64(len(content))},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := t.TempDir()
			write(t, dst+"/f", c.there(), 0o600, old)
			o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{Overwrite: OverwriteResume})
			o.mustWork(t)
			if o.sent.Moved != c.moved || o.got.Resumed != int64(len(content))-c.moved {
				t.Errorf("%d bytes were sent, %d taken over; want %d, %d", o.sent.Moved, o.got.Resumed, c.moved, int64(len(content))-c.moved)
			}
			sameTree(t, describe(t, filepath.Dir(src)), describe(t, dst))
		})
	}
}

// What a killed run left of the probe for upper and lower case goes with the next.
func TestStaleCaseProbe(t *testing.T) {
	src, dst := t.TempDir(), t.TempDir()
	write(t, src+"/f", pattern(10), 0o644, old)
	if err := os.Mkdir(dst+"/"+caseProbe, 0o700); err != nil {
		t.Fatal(err)
	}
	o := copyTree(t, []string{src + "/f"}, SourceOptions{}, dst, ReceiveOptions{})
	o.mustWork(t)
	sameTree(t, describe(t, src), describe(t, dst))
}

// More than MaxSize is refused, and what was there stays as it was.
func TestMaxSize(t *testing.T) {
	dst := t.TempDir()
	there := pattern(6 << 20)
	write(t, dst+"/f", there, 0o644, old)
	src := filepath.Join(t.TempDir(), "f")
	write(t, src, pattern(5<<20), 0o644, old)
	o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{Overwrite: OverwriteResume, MaxSize: 5<<20 - 1})
	var refused *RefusedError
	if !errors.As(o.sendErr, &refused) || !errors.As(o.getErr, &refused) {
		t.Errorf("send: %v; receive: %v", o.sendErr, o.getErr)
	}
	if got, _ := os.ReadFile(dst + "/f"); !bytes.Equal(got, there) {
		t.Error("the file that was there has changed")
	}
}

// More than there is room for is refused before anything is created.
func TestNoRoom(t *testing.T) {
	v := newVictim(t)
	free, ok := freeSpace(v.root)
	if !ok {
		t.Skip("this system does not tell how much room there is")
	}
	big := Entry{Path: "f", Kind: File, Size: free + 1<<40}
	sparse := Entry{Path: "f", Kind: File, Size: free + 2<<40, Holes: 1 << 40}
	for _, e := range []Entry{big, sparse} {
		asked := false
		for _, accept := range []bool{true, false} {
			ro := ReceiveOptions{}
			if accept {
				ro.Accept = func(context.Context, Offer) error { asked = true; return nil }
			}
			err, told := v.attack(t, newWire().list(e), ro)
			wantError[*RefusedError](t, err)
			wantError[*RefusedError](t, told)
		}
		if asked {
			t.Error("a person was asked about what does not fit")
		}
	}
	if entries, _ := os.ReadDir(v.dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

// Each end says who declined: the sender sends back the reason that it was told, and
// the receiver must not take that for the sender's own.
func TestDeclined(t *testing.T) {
	src := filepath.Join(t.TempDir(), "f")
	write(t, src, pattern(1000), 0o644, old)
	for range 20 {
		o := copyTree(t, []string{src}, SourceOptions{}, t.TempDir(), ReceiveOptions{Accept: func(context.Context, Offer) error { return ErrDeclined }})
		if o.getErr == nil || o.getErr.Error() != ErrDeclined.Error() {
			t.Errorf("receive: %v", o.getErr)
		}
		if !errors.Is(o.sendErr, ErrDeclined) || o.sendErr.Error() == ErrDeclined.Error() {
			t.Errorf("send: %v", o.sendErr)
		}
	}
}
