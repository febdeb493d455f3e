package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wherry-net/wherry/socket"
)

// dialTimeout bounds the connection to the target. The client waits meanwhile.
const dialTimeout = 15 * time.Second

// serveTCP takes connections until ctx ends.
func (r *Relay) serveTCP(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer r.tcp.Close()
	for {
		c, err := r.tcp.Accept(ctx)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if r.tcpCount.open.Load() >= int64(r.o.MaxClients) {
			r.tcpCount.refused.Add(1)
			reset(c)
			continue
		}
		n := r.tcpCount.accepted.Add(1)
		r.tcpCount.open.Add(1)
		wg.Go(func() {
			defer r.tcpCount.open.Add(-1)
			r.connect(ctx, c, uint64(n))
		})
	}
}

// reset closes a connection by RST in place of FIN.
func reset(c *socket.Conn) {
	_ = c.SetLinger(0)
	c.Close()
}

// connect joins connection number n with one to the target until both have
// closed.
func (r *Relay) connect(ctx context.Context, client *socket.Conn, n uint64) {
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	d := socket.Dialer{}
	target, err := d.Dial(dctx, r.o.To.String())
	cancel()
	if err != nil {
		r.tcpCount.failed.Add(1)
		reset(client)
		return
	}
	cut := &cutter{left: -1, cut: func() {
		r.tcpCount.reset.Add(1)
		reset(client)
		reset(target)
	}}
	if r.resets(n) {
		cut.left = r.o.ResetAfter
	}
	// Both ends see the end of the relay as a reset: it is none of theirs.
	stop := context.AfterFunc(ctx, func() { reset(client); reset(target) })
	defer stop()
	if cut.over() {
		return
	}
	var wg sync.WaitGroup
	for i, way := range []struct {
		from, to *socket.Conn
		count    *atomic.Int64
	}{{client, target, &r.tcpCount.toBytes}, {target, client, &r.tcpCount.backBytes}} {
		cfg := r.o.Link
		cfg.Direction = uint64(i) | n<<1 // each connection has jitter of its own
		s, err := newStream(cfg, r.shapers[i])
		if err != nil { // the configuration was checked
			reset(client)
			reset(target)
			break
		}
		wg.Go(func() {
			err := s.run(ctx, way.from, func(b []byte) error {
				k, err := way.to.Write(b[:cut.allow(len(b))])
				way.count.Add(int64(k))
				if cut.over() && err == nil {
					err = errStopped
				}
				return err
			}, way.to.CloseWrite)
			if err != nil {
				reset(client)
				reset(target)
			}
		})
	}
	wg.Wait()
	client.Close()
	target.Close()
}

// resets draws whether connection n is to be reset, from the seed alone.
func (r *Relay) resets(n uint64) bool {
	return rand.New(rand.NewPCG(r.o.Link.Seed, n)).Float64() < float64(r.o.Reset)
}

// A cutter ends a connection when it has carried so many bytes, to the byte.
type cutter struct {
	mu   sync.Mutex
	left int64 // below zero: for ever
	cut  func()
	once sync.Once
}

// allow returns how many of n bytes may be passed on.
func (c *cutter) allow(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left < 0 {
		return n
	}
	n = int(min(int64(n), c.left))
	c.left -= int64(n)
	return n
}

// over cuts the connection if nothing more may be passed on, and reports whether
// it did.
func (c *cutter) over() bool {
	c.mu.Lock()
	spent := c.left == 0
	c.mu.Unlock()
	if spent {
		c.once.Do(c.cut)
	}
	return spent
}
