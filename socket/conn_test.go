package socket

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testFile returns a file of n bytes, opened at its start.
func testFile(t testing.TB, n int64) (*os.File, [32]byte) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.NewChaCha8([32]byte{1}), n); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f, [32]byte(h.Sum(nil))
}

// sum reads r to its end.
func sum(r io.Reader) <-chan [32]byte {
	ch := make(chan [32]byte, 1)
	go func() {
		h := sha256.New()
		io.Copy(h, r)
		ch <- [32]byte(h.Sum(nil))
	}()
	return ch
}

// noRead is a file that must not be read by calls to Read: its bytes are to be
// moved by the kernel.
type noRead struct {
	*os.File
	t *testing.T
}

func (f noRead) Read([]byte) (int, error) {
	f.t.Error("the file was read into memory")
	return 0, io.ErrUnexpectedEOF
}

func TestReadFrom(t *testing.T) {
	const size = 3*kernelChunk + 12345
	for _, tt := range []struct {
		name   string
		limit  int64
		source func(t *testing.T, f *os.File) io.Reader
	}{
		{"file", size, func(t *testing.T, f *os.File) io.Reader { return f }},
		{"file in the kernel", size, func(t *testing.T, f *os.File) io.Reader { return noRead{f, t} }},
		{"limited file in the kernel", kernelChunk + 1, func(t *testing.T, f *os.File) io.Reader { return io.LimitReader(noRead{f, t}, kernelChunk+1) }},
		{"exactly one chunk", kernelChunk, func(t *testing.T, f *os.File) io.Reader { return io.LimitReader(f, kernelChunk) }},
		{"limit beyond the end", size, func(t *testing.T, f *os.File) io.Reader { return io.LimitReader(f, 1<<40) }},
		{"nothing", 0, func(t *testing.T, f *os.File) io.Reader { return io.LimitReader(f, 0) }},
		{"memory", size, func(t *testing.T, f *os.File) io.Reader {
			b, _ := io.ReadAll(f)
			return bytes.NewReader(b)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := testFile(t, size)
			client, server := pair(t, Options{}, Options{})
			got := sum(server)
			src := tt.source(t, f)
			n, err := client.ReadFrom(src)
			client.CloseWrite()
			if n != tt.limit || err != nil {
				t.Fatalf("ReadFrom: %d, %v; want %d", n, err, tt.limit)
			}
			if lr, ok := src.(*io.LimitedReader); ok && tt.name != "limit beyond the end" && lr.N != 0 {
				t.Errorf("limit stands at %d", lr.N)
			}
			if c := client.Counters(); c.BytesWritten != tt.limit || tt.limit > 0 && c.WriteTime <= 0 {
				t.Errorf("counters %+v", c)
			}
			f.Seek(0, io.SeekStart)
			if want := <-sum(io.LimitReader(f, tt.limit)); want != <-got {
				t.Error("the bytes differ")
			}
			if c := server.Counters(); c.BytesRead != tt.limit {
				t.Errorf("counters of the reader: %+v", c)
			}
		})
	}
}

// io.Copy prefers a method of *os.File to ours; both ends must count all the same.
func TestCopyFileToFile(t *testing.T) {
	const size = 2*kernelChunk + 777
	f, want := testFile(t, size)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	client, server := pair(t, Options{}, Options{})
	done := make(chan error)
	go func() {
		_, err := io.Copy(client, f)
		client.CloseWrite()
		done <- err
	}()
	n, err := io.Copy(out, server)
	if n != size || err != nil {
		t.Errorf("to the file: %d, %v", n, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c := client.Counters(); c.BytesWritten != size {
		t.Errorf("sender's counters: %+v", c)
	}
	if c := server.Counters(); c.BytesRead != size {
		t.Errorf("receiver's counters: %+v", c)
	}
	out.Seek(0, io.SeekStart)
	if <-sum(out) != want {
		t.Error("the bytes differ")
	}
}

// A relay between two connections.
func TestCopyConnToConn(t *testing.T) {
	const size = kernelChunk + 4321
	f, want := testFile(t, size)
	a, b := pair(t, Options{}, Options{})
	c, d := pair(t, Options{}, Options{})
	go func() {
		io.Copy(a, f)
		a.CloseWrite()
	}()
	got := sum(d)
	n, err := io.Copy(c, b)
	c.CloseWrite()
	if n != size || err != nil || <-got != want {
		t.Errorf("relayed %d, %v", n, err)
	}
	if in, out := b.Counters().BytesRead, c.Counters().BytesWritten; in != size || out != size {
		t.Errorf("counted %d in and %d out", in, out)
	}
}

func TestWriteBuffers(t *testing.T) {
	client, server := pair(t, Options{}, Options{})
	got := make(chan string)
	go func() {
		b, _ := io.ReadAll(server)
		got <- string(b)
	}()
	bufs := net.Buffers{[]byte("one "), nil, []byte("two "), []byte(strings.Repeat("3", 100_000))}
	n, err := client.WriteBuffers(&bufs)
	client.CloseWrite()
	if n != 100_008 || err != nil || len(bufs) != 0 {
		t.Errorf("%d, %v, %d buffers left", n, err, len(bufs))
	}
	if s := <-got; !strings.HasPrefix(s, "one two 333") || len(s) != 100_008 {
		t.Errorf("%d bytes arrived", len(s))
	}
	if c := client.Counters(); c.BytesWritten != n {
		t.Errorf("counters %+v", c)
	}
}

func TestLostConnection(t *testing.T) {
	client, server := pair(t, Options{}, Options{})
	if err := server.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	server.Close() // resets
	_, err := client.Read(make([]byte, 1))
	if Kind(err) != ErrLost {
		t.Errorf("reading from a reset connection: %v is %v", err, Kind(err))
	}
	if _, ok := client.TCPInfo(); ok {
		client.Close()
	}
	client.Close()
	if _, ok := client.TCPInfo(); ok {
		t.Error("a closed connection has a TCPInfo")
	}
}

// BenchmarkSend compares what Conn makes of sending a file with net.TCPConn.
func BenchmarkSend(b *testing.B) {
	const size = 64 << 20
	f, _ := testFile(b, size)
	for _, bb := range []struct {
		name string
		dst  func(*Conn) io.Writer
		src  io.Reader
	}{
		{"Conn/sendfile", func(c *Conn) io.Writer { return c }, f},
		{"TCPConn/sendfile", func(c *Conn) io.Writer { return c.NetConn() }, f},
		{"Conn/copy", func(c *Conn) io.Writer { return c }, onlyReader{f}},
		{"TCPConn/copy", func(c *Conn) io.Writer { return c.NetConn() }, onlyReader{f}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			client, server := pair(b, Options{}, Options{})
			go io.Copy(io.Discard, server)
			dst := bb.dst(client)
			b.SetBytes(size)
			for b.Loop() {
				f.Seek(0, io.SeekStart)
				if n, err := io.Copy(dst, bb.src); n != size || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
