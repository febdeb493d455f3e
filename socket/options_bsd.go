//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package socket

func (o *Options) checkDSCP() error { return nil }

// applyTCP has nothing to set: what is left is what checkSystem refuses.
func (o *Options) applyTCP(int) error { return o.checkSystem() }
