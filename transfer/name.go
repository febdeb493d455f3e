package transfer

import (
	"crypto/rand"
	"runtime"
)

// PartSuffix ends the name of a file that is not complete yet. No entry may be
// called so.
const PartSuffix = partSuffix

// PartName is a name beside name, one of no directory, for its content until that is
// complete. It is new each time, ends in [PartSuffix], and fits the file system if
// name does.
func PartName(name string) string {
	return sideName(name, "."+rand.Text()[:8]+PartSuffix)
}

// CheckName says why p, with slashes between its names, must not be created below
// a directory on this system: absolute, empty names, "..", too long or too deep,
// names that the system reads otherwise than written, or names kept for unfinished
// files. The error is an [*EntryError].
func CheckName(p string) error {
	if reason := badPath(p, runtime.GOOS); reason != "" {
		return &EntryError{p, reason}
	}
	return nil
}
