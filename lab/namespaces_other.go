//go:build !linux

package lab

import (
	"context"

	"github.com/wherry-net/wherry/lab/box"
)

// wire needs namespaces.
type wire struct{ program string }

func (*wire) parallel() int     { return 1 }
func (*wire) check(*Plan) error { return box.ErrUnsupported }
func (*wire) run(context.Context, Run, *Row, *recorder) error {
	return box.ErrUnsupported
}
