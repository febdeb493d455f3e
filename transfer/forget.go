package transfer

import (
	"os"
	"path"
	"path/filepath"
)

// Forget removes what a transfer that was broken off has left of a file below d, which
// is not going to be continued there.
func Forget(d *os.Root, e *Entry) {
	dir, err := d.OpenRoot(filepath.FromSlash(path.Dir(e.Path)))
	if err != nil {
		return
	}
	defer dir.Close()
	removeLeftovers(dir, path.Base(e.Path))
}
