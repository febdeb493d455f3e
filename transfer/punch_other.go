//go:build !linux

package transfer

import "os"

// punch is not known here: zeros are written instead.
func punch(*os.File, int64, int64) bool { return false }
