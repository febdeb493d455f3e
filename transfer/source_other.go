//go:build !unix

package transfer

import "os"

// openNonblock is needed where a FIFO can take a file's place.
const openNonblock = 0

func (d *sourceDir) open(name string) (*os.File, error) { return d.root.Open(name) }

// read puts the file name's content into p, as far as there is room, and tells
// whether it was written to meanwhile.
func (d *sourceDir) read(name string, p []byte) (n int, changed bool, err error) {
	f, err := d.open(name)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err == nil && !before.Mode().IsRegular() {
		err = errBecame(before.Mode())
	}
	if err != nil {
		return 0, false, err
	}
	return readOpen(f, before, p)
}
