package transfer

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wherry-net/wherry/transfer/internal/preface"
)

// A brokenPipe takes no content: its peer is gone.
type brokenPipe struct {
	net.Conn
	once sync.Once
	gone chan struct{}
}

func (b *brokenPipe) Write(p []byte) (int, error) {
	if frameType(p[0]) == frameData {
		b.once.Do(func() { close(b.gone) })
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return b.Conn.Write(p)
}

// A peer says why it closes the connection. Whoever is writing finds out first that it
// is closed, and what the peer said still counts. Time is simulated.
func TestLastWordsAreHeard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, pattern(3<<20), 0o644, old)
	for _, c := range []struct {
		after time.Duration
		says  bool
		want  error
	}{
		{0, true, ErrDeclined}, {parting / 2, true, ErrDeclined}, {0, false, ErrLost}, {time.Hour, true, ErrLost},
	} {
		synctest.Test(t, func(t *testing.T) {
			src, err := NewSource([]string{file}, SourceOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			a, b := net.Pipe()
			ours := &brokenPipe{Conn: a, gone: make(chan struct{})}
			done := make(chan struct{})
			go func() {
				defer close(done)
				go func() {
					_, _ = b.Write(appendFrame([]byte(preface.Magic+"H"), frameHello, hello{Min: 1, Max: 1, Role: roleReceiver}.encode()))
				}()
				_, _ = io.CopyN(io.Discard, b, int64(len(preface.Magic)+1))
				for typ := frameHello; typ != frameManifestEnd; {
					var n int
					typ, n, _ = readFrameHeader(b)
					_, _ = io.CopyN(io.Discard, b, int64(n))
				}
				go func() { _, _ = io.Copy(io.Discard, b) }()
				ask := appendFrame(nil, frameDecisions, decision{Verb: verbSend, First: 0, Count: 1}.append(nil))
				_, _ = b.Write(appendFrame(ask, frameDecisionsEnd, nil))
				<-ours.gone
				time.Sleep(c.after)
				if c.says {
					_, _ = b.Write(appendFrame(nil, frameError, encodeError(ErrDeclined)))
				}
				b.Close()
			}()
			start := time.Now()
			_, err = Send(t.Context(), ours, src, SendOptions{})
			if !errors.Is(err, c.want) || time.Since(start) > 2*time.Second {
				t.Errorf("after %v: %v, want %v; it took %v", c.after, err, c.want, time.Since(start))
			}
			<-done
		})
	}
}

// A lateConn finds its first deadline for writing over before it has tried, as after
// the machine stood still.
type lateConn struct {
	net.Conn
	writes int
}

func (c *lateConn) Write(p []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.Conn.Write(p)
}

func TestLastWordsAreTriedAgain(t *testing.T) {
	a, b := net.Pipe()
	go newLink(&lateConn{Conn: a}, 0).goodbye(ErrDeclined)
	theirs := newLink(b, time.Minute)
	if _, _, err := theirs.next(); !errors.Is(err, ErrDeclined) {
		t.Errorf("the peer heard %v", err)
	}
	b.Close()
}

// A peer's sign of life counts that comes a moment after it has been silent for too
// long: a machine that stood still learns of its deadlines before it reads what has
// come. Time is simulated.
func TestBelated(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		want error
	}{{belated / 2, ErrDeclined}, {2 * belated, ErrPeerSilent}} {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			l := newLink(a, 0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for range 3 {
					time.Sleep(DefaultTimeout + belated/2)
					_, _ = b.Write(appendFrame(nil, framePing, nil))
				}
				time.Sleep(DefaultTimeout + c.late)
				_, _ = b.Write(appendFrame(nil, frameError, encodeError(ErrDeclined)))
			}()
			if _, _, err := l.next(); !errors.Is(err, c.want) {
				t.Errorf("%v late: %v, want %v", c.late, err, c.want)
			}
			a.Close()
			<-done
		})
	}
}
