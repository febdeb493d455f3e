//go:build !linux

package box

import (
	"context"
	"syscall"
)

// A Box is two hosts and the link between them; Linux only.
type Box struct{}

// A Process is a command that was started.
type Process struct{}

// Start fails: this is not Linux.
func Start(_ context.Context, o Options) (*Box, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	return nil, ErrUnsupported
}

// Run fails.
func (b *Box) Run(Command) (*Process, error) { return nil, ErrUnsupported }

// Backend is Auto.
func (b *Box) Backend() Backend { return Auto }

// Stats are zero.
func (b *Box) Stats() [2]Stats { return [2]Stats{} }

// Err is ErrUnsupported.
func (b *Box) Err() error { return ErrUnsupported }

// Close does nothing.
func (b *Box) Close() error { return nil }

// Wait fails.
func (p *Process) Wait() (ExitStatus, error) { return ExitStatus{}, ErrUnsupported }

// Done is closed.
func (p *Process) Done() <-chan struct{} { c := make(chan struct{}); close(c); return c }

// Signal fails.
func (p *Process) Signal(syscall.Signal) error { return ErrUnsupported }

// Init fails.
func Init() error { return ErrUnsupported }

// Exec fails.
func Exec(Host, string, []string, []string) error { return ErrUnsupported }
