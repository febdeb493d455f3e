//go:build !unix

package transfer

import (
	"os"
	"time"
)

// freeSpace is not known here; a full disk is told when it is met.
func freeSpace(*os.Root) (int64, bool) { return 0, false }

// lockFile relies on the system, which does not let a file be opened twice for
// writing.
func lockFile(*os.File) bool { return true }

func setTime(_ *os.File, d *os.Root, name string, t time.Time) error { return d.Chtimes(name, t, t) }

func (d *dirHandle) create(name string) (*os.File, error) {
	return d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, partMode)
}

func (d *dirHandle) setTime(name string, t time.Time) error { return d.root.Chtimes(name, t, t) }

func (d *dirHandle) rename(from, to string) error { return d.root.Rename(from, to) }

// setLinkTime: links have no settable time here.
func setLinkTime(*os.Root, string, time.Time) {}

// syncFile flushes files; directories cannot be flushed here, nor need they be.
func syncFile(f *os.File) error {
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil
	}
	return f.Sync()
}
