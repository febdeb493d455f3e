//go:build unix

package transfer

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A file that was let go can be taken, although this process is starting another,
// which has all that is open until it is another program.
func TestLockBesideAChild(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				_ = exec.Command(self, "-test.run=^$").Run()
			}
		}
	}()
	name := filepath.Join(t.TempDir(), "f")
	for i := range 3000 {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if !lockFile(f) {
			t.Errorf("nobody has the file, and it cannot be taken (the %d. time)", i)
			f.Close()
			break
		}
		f.Close()
	}
	close(stop)
	<-stopped
}
