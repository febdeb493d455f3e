package transfer

import "runtime"

// PartSuffix ends the name of a file that is not complete yet. No entry may be
// called so.
const PartSuffix = partSuffix

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
