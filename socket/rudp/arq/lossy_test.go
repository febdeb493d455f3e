package arq_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/wherry-net/wherry/socket/rudp/arq"
	"github.com/wherry-net/wherry/socket/rudp/arq/sim"
)

// TestProgress: as long as anything arrives, everything does in the end, if the ends
// are patient. That it did the sender may never hear: whoever says the last word does
// not know whether it came.
func TestProgress(t *testing.T) {
	for _, loss := range []float64{.5, .7, .9} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprint(loss, seed), func(t *testing.T) {
				cfg := link(10, 20*time.Millisecond, loss, 4)
				cfg.Seed, cfg.Check, cfg.Limit = seed, true, 24*time.Hour
				patient := arq.Config{IdleTimeout: time.Hour, HandshakeTimeout: time.Hour}
				cfg.Flows = []sim.Flow{{Bytes: 50_000, Client: patient, Server: patient}}
				r, err := sim.Run(cfg)
				if err != nil {
					t.Fatal(err)
				}
				f := r.Flows[0]
				t.Logf("%v, %d packets", f.Done, f.Client.PacketsSent)
				if f.Delivered != 50_000 || f.Err != nil && (loss < .9 || !errors.Is(f.Err, arq.ErrIdleTimeout)) {
					t.Fatalf("%d bytes, %v", f.Delivered, f.Err)
				}
			})
		}
	}
}
