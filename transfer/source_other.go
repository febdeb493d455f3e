//go:build !unix

package transfer

// openNonblock is needed where a FIFO can take a file's place.
const openNonblock = 0
