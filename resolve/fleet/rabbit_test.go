//go:build unix

package fleet

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wherry-net/wherry/resolve/bulk"
	"github.com/wherry-net/wherry/socket/broker"
	"github.com/wherry-net/wherry/socket/broker/brokertest"
)

func parseURL(t testing.TB, s string) *broker.URL {
	t.Helper()
	u, err := broker.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A worker dies and the broker loses its power, both in the middle: every name has
// one result.
func TestRabbit(t *testing.T) {
	const n = 40_000
	r := brokertest.Start(t)
	u := parseURL(t, r.URL)
	server := nameServer(t)
	patient := RabbitOptions{Timeout: 3 * time.Minute, Prefetch: 2, Away: func(err error) { t.Log("away:", err) }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	var wg sync.WaitGroup
	defer wg.Wait()
	work := func(ctx context.Context, name string) {
		t.Helper()
		c, err := DialRabbit(ctx, u, "", patient) // before the other one can have done it all
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer c.Close()
			if err := Work(ctx, c, WorkerOptions{Name: name, Ask: bulk.Options{Servers: []bulk.Server{server}}}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	mortal, die := context.WithCancel(ctx)
	defer die()
	work(ctx, "one")
	work(mortal, "two")

	c, err := DialRabbit(ctx, u, "job", patient)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out bytes.Buffer
	cut := false
	stats, err := Coordinate(ctx, c, strings.NewReader(list(n)), &out, Options{
		Job: "job", Lines: 500, Outstanding: 8, Every: time.Millisecond,
		Progress: func(s Stats) {
			if s.Names > n/4 && !cut {
				cut = true
				die()
				r.Kill()
				r.Start()
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !cut {
		t.Error("it was over before anything could break")
	}
	exactlyOnce(t, out.String(), n, false)
	if stats.Names != n || stats.Strange != 0 {
		t.Errorf("%+v", stats)
	}
	t.Logf("%d names, %d results came twice", stats.Names, stats.Twice)
	if err := c.Finish(ctx); err != nil {
		t.Error(err)
	}

	// A result that comes now has nowhere to go.
	w, err := DialRabbit(ctx, u, "", RabbitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Send(ctx, "job", []byte("late")); !errors.Is(err, ErrJobGone) {
		t.Error(err)
	}

	// Who is not let in, and what does not come back.
	bad := *u
	bad.Password = "wrong"
	if _, err := DialRabbit(ctx, &bad, "", RabbitOptions{}); !errors.Is(err, broker.ErrAuth) || strings.Contains(err.Error(), "wrong") {
		t.Error(err)
	}
	bad = *u
	bad.VHost = "nowhere"
	if _, err := DialRabbit(ctx, &bad, "", RabbitOptions{}); !errors.Is(err, broker.ErrAuth) {
		t.Error(err)
	}
	// However short or long a try takes: none succeeds.
	v, err := DialRabbit(ctx, u, "", RabbitOptions{Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	cancel()
	wg.Wait()
	r.Kill()
	if _, err := v.Receive(t.Context()); err == nil {
		t.Error("a broker that is gone delivers")
	}
	if _, err := DialRabbit(t.Context(), u, "", RabbitOptions{}); err == nil || errors.Is(err, broker.ErrAuth) {
		t.Error(err)
	}
}

// Somebody who accepts and says nothing is no broker for ever.
func TestSilentBroker(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := l.Accept(); err == nil {
			cancel()
			defer c.Close()
			<-t.Context().Done()
		}
	}()
	if _, err := DialRabbit(ctx, parseURL(t, "amqp://"+l.Addr().String()), "", RabbitOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A broker whose disk is full takes nothing, and is no reason to hang.
func TestFullBroker(t *testing.T) {
	r := brokertest.Start(t, "disk_free_limit.absolute = 9000000000000")
	u := parseURL(t, r.URL)
	told := make(chan error, 100)
	// The patience begins when the broker says that it is full, whenever that is.
	c, err := DialRabbit(t.Context(), u, "job", RabbitOptions{Timeout: 200 * time.Millisecond, Away: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(t.Context(), "job", []byte("x")); !errors.Is(err, broker.ErrFull) || !strings.Contains(err.Error(), "disk") {
		t.Error(err)
	}
	if err := <-told; !errors.Is(err, broker.ErrFull) {
		t.Error(err)
	}
	if _, err := c.Receive(t.Context()); !errors.Is(err, broker.ErrFull) {
		t.Error(err)
	}

	// Whoever stops meanwhile is not kept.
	again := make(chan error, 100) // for this connection has to be told itself
	c, err = DialRabbit(t.Context(), u, "job", RabbitOptions{Timeout: time.Hour, Away: func(err error) { again <- err }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-again; cancel() }()
	if err := c.Send(ctx, "job", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.Finish(ctx); err == nil {
		t.Error("a broker that does not read has removed a queue")
	}
	_ = c.Close()
}
