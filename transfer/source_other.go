//go:build !unix

package transfer

import "os"

// openNonblock is needed where a FIFO can take a file's place.
const openNonblock = 0

func (d *sourceDir) open(name string) (*os.File, error) { return d.root.Open(name) }
