//go:build !windows

package rudp

import "syscall"

const refused = syscall.ECONNREFUSED

var unreachables = []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN, syscall.EADDRNOTAVAIL,
	syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EOPNOTSUPP}
