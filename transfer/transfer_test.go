package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// pair is two ends of a TCP connection over loopback.
func pair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

type outcome struct {
	sent, got       Result
	sendErr, getErr error
}

// copyTree runs one transfer to its end.
func copyTree(t testing.TB, paths []string, so SourceOptions, dir string, ro ReceiveOptions) outcome {
	t.Helper()
	src, err := NewSource(paths, so)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if ro.Output == nil {
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		ro.Dir = root
	}
	ro.Timeout = calmTimeout
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.got, o.getErr = Receive(ctx, b, ro)
	}()
	o.sent, o.sendErr = Send(ctx, a, src, SendOptions{Timeout: calmTimeout})
	<-done
	return o
}

func (o outcome) mustWork(t testing.TB) {
	t.Helper()
	if o.sendErr != nil || o.getErr != nil {
		t.Fatalf("send: %v\nreceive: %v", o.sendErr, o.getErr)
	}
}

// describe is everything about a tree that must arrive: names, kinds, contents,
// modes, times, link targets.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%v %v", info.Mode(), info.ModTime().UnixNano())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(p)
			text += " -> " + target
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", len(b), blake(b))
		}
		out[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sameTree(t testing.TB, want, got map[string]string) {
	t.Helper()
	for p, w := range want {
		if g, ok := got[p]; !ok {
			t.Errorf("%q is missing", p)
		} else if g != w {
			t.Errorf("%q is %s, want %s", p, g, w)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q is too many", p)
		}
	}
}

func write(t testing.TB, name string, content []byte, mode fs.FileMode, mtime time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(name, mtime, mtime); err != nil {
		t.Fatal(err)
	}
}

var old = time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)

// oddTree has one of everything that a tree can hold and a copy often loses.
func oddTree(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "odd")
	write(t, dir+"/empty", nil, 0o644, old)
	write(t, dir+"/with space.txt", []byte("space"), 0o644, old)
	write(t, dir+"/new\nline", []byte("newline"), 0o640, old)
	write(t, dir+"/emoji 🚣 boat", []byte("row"), 0o644, old)
	write(t, dir+"/-rf", []byte("dash"), 0o644, old)
	write(t, dir+"/latin1-\xe9", []byte("not UTF-8"), 0o644, old)
	write(t, dir+"/readonly", []byte("0444"), 0o444, old)
	write(t, dir+"/script", []byte("#!/bin/sh\n"), 0o755, old)
	write(t, dir+"/sub/deeper/file", []byte("deep"), 0o600, old)
	write(t, dir+"/big", pattern(5<<20+12345), 0o644, old)
	write(t, dir+"/group", pattern(1<<20), 0o644, old)
	write(t, dir+"/group+1", pattern(1<<20+1), 0o644, old)
	write(t, dir+"/packed", pattern(smallFile), 0o644, old)
	write(t, dir+"/not-packed", pattern(smallFile+1), 0o644, old)
	for _, d := range []string{"/void", "/locked"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, dir+"/locked/inside", []byte("in a directory nobody may write"), 0o644, old)
	for link, target := range map[string]string{"/link": "sub/deeper", "/sub/up": "../script", "/dangling": "nowhere"} {
		if err := os.Symlink(target, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{"/void", "/sub/deeper", "/sub"} {
		if err := os.Chtimes(dir+d, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir+"/locked", 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir+"/locked", 0o755) })
	return dir
}

func TestOddTree(t *testing.T) {
	src, dst := oddTree(t), t.TempDir()
	o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{})
	t.Cleanup(func() { _ = os.Chmod(dst+"/odd/locked", 0o755) })
	o.mustWork(t)
	sameTree(t, describe(t, filepath.Dir(src)), describe(t, dst))
	if o.sent.Files != o.got.Files || o.sent.Bytes != o.got.Bytes {
		t.Errorf("the ends disagree: sent %d files, %d bytes; got %d files, %d bytes", o.sent.Files, o.sent.Bytes, o.got.Files, o.got.Bytes)
	}
	// Once more: everything is there, nothing moves.
	o = copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{})
	o.mustWork(t)
	if o.sent.Moved != 0 || o.got.Had != o.got.Files {
		t.Errorf("a second run moved %d bytes and found %d of %d files", o.sent.Moved, o.got.Had, o.got.Files)
	}
	sameTree(t, describe(t, filepath.Dir(src)), describe(t, dst))
}

func TestManyFiles(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "many"), t.TempDir()
	for i := range 3000 {
		write(t, fmt.Sprintf("%s/d%02d/f%04d", src, i%30, i), pattern(i*7), 0o644, old)
	}
	o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{})
	o.mustWork(t)
	sameTree(t, describe(t, filepath.Dir(src)), describe(t, dst))
}

func TestConflict(t *testing.T) {
	src := filepath.Join(t.TempDir(), "a.txt")
	write(t, src, []byte("new content"), 0o644, old)
	for _, c := range []struct {
		name    string
		o       Overwrite
		there   string
		want    map[string]string
		refused bool
	}{
		{"ask without anybody to ask", OverwriteAsk, "old", map[string]string{"a.txt": "old"}, true},
		{"ask, same size", OverwriteAsk, "old content", map[string]string{"a.txt": "old content"}, true},
		{"never", OverwriteNever, "old", map[string]string{"a.txt": "old"}, false},
		{"always", OverwriteAlways, "old content", map[string]string{"a.txt": "new content"}, false},
		{"rename", OverwriteRename, "old content", map[string]string{"a.txt": "old content", "a (1).txt": "new content"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dst := t.TempDir()
			write(t, dst+"/a.txt", []byte(c.there), 0o644, old)
			o := copyTree(t, []string{src}, SourceOptions{}, dst, ReceiveOptions{Overwrite: c.o})
			var refused *RefusedError
			if errors.As(o.sendErr, &refused) != c.refused || errors.As(o.getErr, &refused) != c.refused {
				t.Errorf("send: %v; receive: %v", o.sendErr, o.getErr)
			}
			got := map[string]string{}
			entries, _ := os.ReadDir(dst)
			for _, e := range entries {
				b, _ := os.ReadFile(dst + "/" + e.Name())
				got[e.Name()] = string(b)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
