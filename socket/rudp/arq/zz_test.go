package arq_test

import (
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

func TestZZ(t *testing.T) {
	cfg := link(50, 50*time.Millisecond, 0, 1)
	cfg.Forward.Reorder, cfg.Reverse.Reorder = .01, .01
	cfg.Flows = []sim.Flow{{Bytes: 50e6}}
	cfg.Flows[0].Client.Trace = controllerTrace(t)
	r, err := sim.Run(cfg)
	t.Log(err, r.End, r.Flows[0].Done, r.Flows[0].Client.Limited)
}
