package discover

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"
)

// ErrNotFound says that no offer with the number answered in time.
var ErrNotFound = errors.New("no such offer on the local network")

// Config is where to look. The zero value is every interface.
type Config struct {
	// Interfaces, if set, gives the interfaces to use; it is called again from
	// time to time. Default: all that are up and do multicast, and the loopback.
	Interfaces func() ([]net.Interface, error)
}

// An Offer is what is advertised, and nothing else is.
type Offer struct {
	// Number is the code's, 1 to 9999; 0 for one that is free.
	Number int
	// Port is where the offer listens, on every address.
	Port uint16
	// Transport is "tcp" (the default) or "udp".
	Transport string
}

// A Candidate is an offer that was found. Nothing about it is proved: only
// pairing tells who it is.
type Candidate struct {
	Instance  string           // the offer's random name, 16 hexadecimal digits
	Number    int              // the code's number
	Version   int              // the protocol's version
	Transport string           // "tcp" or "udp"
	Addrs     []netip.AddrPort // where to dial, all on the local links; never empty
}

// An Advertisement is an offer that is being advertised.
type Advertisement struct {
	number int
	cancel context.CancelFunc
	done   chan struct{}
}

// Advertise claims the offer's number, which takes about a second, and advertises
// the offer until ctx ends or the Advertisement is closed. The error is
// [ErrNumberTaken], the context's, or of the network.
func Advertise(ctx context.Context, o Offer, cfg Config) (*Advertisement, error) {
	if o.Transport == "" {
		o.Transport = "tcp"
	}
	if o.Number < 0 || o.Number > maxNumber || o.Port == 0 || !validTransport(o.Transport) {
		return nil, fmt.Errorf("advertising: invalid offer %+v", o)
	}
	o.Transport = strings.ToLower(o.Transport)
	s, links, err := openSockets(cfg.Interfaces)
	if err != nil {
		return nil, fmt.Errorf("advertising: %w", err)
	}
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // cannot fail (crypto/rand)
	r, err := newResponder(time.Now(), o, links, crand.Reader, rand.New(rand.NewChaCha8(seed)))
	if err != nil {
		s.close()
		return nil, fmt.Errorf("advertising: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	a := &Advertisement{cancel: cancel, done: make(chan struct{})}
	result := make(chan error, 1) // the first is the claim's
	go a.serve(ctx, s, r, links, result)
	if err := <-result; err != nil {
		a.Close()
		return nil, fmt.Errorf("advertising: %w", err)
	}
	return a, nil
}

// serve drives the responder, and takes the offer back at the end.
func (a *Advertisement) serve(ctx context.Context, s *sockets, r *responder, links []link, result chan<- error) {
	defer close(a.done)
	defer s.close()
	told, sent := false, false
	var sendErr error
	s.run(ctx, r, links, func() bool {
		for _, p := range r.take() {
			if err := s.send(p); err != nil {
				sendErr = err
			} else {
				sent = true
			}
		}
		switch {
		case r.state == failed:
			result <- ErrNumberTaken
			return false
		case told || !r.claimed():
		case !sent && sendErr != nil:
			result <- sendErr // nobody can have heard of it
			return false
		default:
			a.number = r.offer.Number
			told = true
			result <- nil
		}
		return true
	})
	if !told {
		select {
		case result <- context.Cause(ctx):
		default: // it has been told another reason
		}
	}
	r.stop()
	for _, p := range r.take() {
		s.send(p) // that it fails leaves nothing else to do
	}
}

// Number is the offer's number, the one that was claimed if it was left open.
func (a *Advertisement) Number() int { return a.number }

// Close takes the offer back and waits until that has been sent.
func (a *Advertisement) Close() error {
	a.cancel()
	<-a.done
	return nil
}

// Browse looks for offers with a number, or any if number is 0, until ctx ends;
// then the channel is closed. An offer comes once, and again with what is new
// when further addresses turn up.
//
// Anybody on the network can answer. Of several candidates dial one after the
// other; but each wrong code is a guess for whoever answered, so stop after
// three.
func Browse(ctx context.Context, number int, cfg Config) (<-chan Candidate, error) {
	if number < 0 || number > maxNumber {
		return nil, fmt.Errorf("browsing: no such number: %d", number)
	}
	s, links, err := openSockets(cfg.Interfaces)
	if err != nil {
		return nil, fmt.Errorf("browsing: %w", err)
	}
	ch := make(chan Candidate)
	go func() {
		defer close(ch)
		defer s.close()
		b := newBrowser(time.Now(), number, links)
		s.run(ctx, b, links, func() bool {
			out, found := b.take()
			for _, p := range out {
				s.send(p) // a link that is down today may be up at the next query
			}
			for _, c := range found {
				select {
				case ch <- c:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	return ch, nil
}

// First gives the first offer with a number, or [ErrNotFound] when ctx ends
// before there is one.
func First(ctx context.Context, number int, cfg Config) (Candidate, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch, err := Browse(ctx, number, cfg)
	if err != nil {
		return Candidate{}, err
	}
	c, ok := <-ch
	if !ok {
		return Candidate{}, fmt.Errorf("number %d: %w: %w", number, ErrNotFound, context.Cause(ctx))
	}
	return c, nil
}
