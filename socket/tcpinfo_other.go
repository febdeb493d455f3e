//go:build !linux && !darwin

package socket

// readTCPInfo has nothing to read: Windows has SIO_TCP_INFO and the BSDs each a
// tcp_info of their own, none of which golang.org/x/sys knows.
func readTCPInfo(uintptr) (TCPInfo, bool) { return TCPInfo{}, false }
