package rudp

import "golang.org/x/sys/windows"

// refused is how Windows names an ICMP port unreachable on a UDP socket.
const refused = windows.WSAECONNRESET

var unreachables = []error{windows.WSAECONNRESET, windows.WSAENETRESET, windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH, windows.WSAEHOSTDOWN, windows.WSAENETDOWN}
