//go:build unix

package transfer

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// What the walk has listed may be another thing when it is read.
func TestSmallFileIsAnother(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	src, err := NewSource([]string{dir}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for _, at := range []string{"f", "sub/f"} {
		name := filepath.Join(dir, at)
		write := func(n int) error { return os.WriteFile(name, []byte(strings.Repeat("x", n)), 0o600) }
		for _, c := range []struct {
			name string
			make func() error
			n    int
			err  string
		}{
			{"as it was", func() error { return write(5) }, 5, ""},
			{"shorter", func() error { return write(3) }, 3, ""},
			{"longer than was accepted", func() error { return write(9) }, 5, ""},
			{"empty", func() error { return write(0) }, 0, ""},
			{"a FIFO", func() error { return syscall.Mkfifo(name, 0o600) }, 0, "it became a FIFO"},
			{"a directory", func() error { return os.Mkdir(name, 0o700) }, 0, "it became a"},
			{"a link", func() error { return os.Symlink("/etc/hostname", name) }, 0, "symbolic link"},
			{"gone", func() error { return nil }, 0, "no such file"},
		} {
			if err := c.make(); err != nil {
				t.Fatal(err)
			}
			n, changed, err := src.read(&Entry{Path: "d/" + at, Size: 5}, make([]byte, 5))
			if n != c.n || changed || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s, %s: %d bytes, changed %v, %v", at, c.name, n, changed, err)
			}
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A file that was large when it was listed, and is small now, goes as a small one.
func TestLargeFileBecameSmall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	content := []byte("little")
	if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := NewSource([]string{dir}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	f := newFeeder(src)
	var end fileEnd
	var sent []byte
	f.sent = func(e fileEnd) { end = e }
	f.warn = func(e *Entry, text string) { t.Errorf("%s: %s", e.Path, text) }
	f.emit = func(_ context.Context, b batch) error { sent = append(sent, b.frames...); return nil }
	b := batch{}
	if err := f.file(t.Context(), job{entry: 7, e: &Entry{Path: "d/f", Size: 1 << 20}}, &b); err != nil {
		t.Fatal(err)
	}
	if err := f.flush(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	want := fileEnd{Entry: 7, Size: 6, Sent: 6, Digest: treehash.Sum(content)}
	if end != want {
		t.Errorf("%+v", end)
	}
	frames := make([]byte, frameHeader+dataHeader, 99)
	putDataHeader(frames, 7, 0, len(content))
	if frames = want.append(append(frames, content...)); string(sent) != string(frames) {
		t.Errorf("%x was sent, and not %x", sent, frames)
	}
}
