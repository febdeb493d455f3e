//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package socket

func (o *Options) checkDSCP() error { return nil }
