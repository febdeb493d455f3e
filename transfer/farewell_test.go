package transfer

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// A mute connection breaks when its end would say that all is done.
type mute struct{ *net.TCPConn }

func (m mute) Write(p []byte) (int, error) {
	if len(p) >= frameHeader && frameType(p[0]) == frameDone && bytes.HasPrefix(p, []byte{byte(frameDone), 0, 0, 0}) {
		_ = m.SetLinger(0)
		m.Close()
		return 0, net.ErrClosed
	}
	return m.TCPConn.Write(p)
}

// The last word of a receiver that has reported every file may get lost: what is
// certain without it is a success. Links, which are made at the end, are not.
func TestLostFarewell(t *testing.T) {
	for name, c := range map[string]struct {
		make  func(dir string) string
		works bool
		warns int
	}{
		"files": {func(dir string) string {
			write(t, dir+"/f", pattern(3<<20), 0o644, old)
			return dir + "/f"
		}, true, 0},
		"a directory": {func(dir string) string {
			write(t, dir+"/d/f", pattern(3<<20), 0o644, old)
			return dir + "/d"
		}, true, 1},
		"a link": {func(dir string) string {
			write(t, dir+"/d/f", pattern(3<<20), 0o644, old)
			if err := os.Symlink("f", dir+"/d/l"); err != nil {
				t.Fatal(err)
			}
			return dir + "/d"
		}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path, dst := c.make(t.TempDir()), t.TempDir()
			src, err := NewSource([]string{path}, SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			root, err := os.OpenRoot(dst)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			a, b := pair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _ = Receive(context.Background(), mute{b.(*net.TCPConn)}, ReceiveOptions{Dir: root, Timeout: calmTimeout})
			}()
			warned := 0
			result, err := Send(t.Context(), a, src, SendOptions{Timeout: calmTimeout, Trace: &Trace{Warning: func(string, error) { warned++ }}})
			<-done
			if (err == nil) != c.works || warned != c.warns || result.Files != 1 {
				t.Errorf("%v; %d warnings, %d files", err, warned, result.Files)
			}
			if name == "files" {
				sameTree(t, describe(t, filepath.Dir(path)), describe(t, dst))
			}
		})
	}
}
