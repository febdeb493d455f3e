package resolve

import (
	"context"
	"slices"
	"strings"
	"time"
)

// WaitOptions say what [Resolver.Wait] waits for.
type WaitOptions struct {
	// Until is data that one of the records must have, as it is printed (a
	// final dot, quotes and case do not matter). If it is empty the wait is
	// for a record to appear where there is none, or for the records to
	// change where there are some.
	Until string
	// Min and Max bound the pause between two questions; 0 means 1 s and
	// 60 s. Within them the pause follows the TTL that was seen, as a caching
	// server will not say anything new sooner.
	Min, Max time.Duration
	// Each is called with every result and the time until the next question,
	// 0 for the last.
	Each func(r *Result, pause time.Duration)
}

// Wait asks for name again and again, at a polite pace, until what o says has
// come to pass, and returns that result; or the last one, and why ctx ended.
// Failures along the way do not end it, except an input error.
func (r *Resolver) Wait(ctx context.Context, name string, typ, class uint16, o WaitOptions) (*Result, error) {
	lo, hi := o.Min, o.Max
	if lo <= 0 {
		lo = time.Second
	}
	if hi <= 0 {
		hi = time.Minute
	}
	var first string
	started, backoff := false, lo
	for {
		res := r.Lookup(ctx, name, typ, class)
		if _, ok := res.Err.(*NameError); ok {
			return res, res.Err
		}
		done := false
		if res.Outcome != Failed {
			switch {
			case o.Until != "":
				done = hasData(res, o.Until)
			case !started:
				started = true
				first = fingerprint(res)
			default:
				done = fingerprint(res) != first
			}
		}
		if done {
			if o.Each != nil {
				o.Each(res, 0)
			}
			return res, nil
		}
		pause := backoff
		backoff = min(backoff*3/2, hi)
		if ttl, ok := validFor(res); ok {
			// A second more, as TTLs are rounded down.
			pause = max(lo, min(ttl+time.Second, backoff))
		}
		pause = min(pause, hi)
		if o.Each != nil {
			o.Each(res, pause)
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return res, ctxError(ctx)
		}
	}
}

// fingerprint is what Wait compares: the outcome and the records.
func fingerprint(res *Result) string {
	c := Compare(res.Query, []*Result{res})
	keys := make([]string, 0, len(c.Rows))
	for _, row := range c.Rows {
		keys = append(keys, recordKey(row.RR))
	}
	slices.Sort(keys)
	if res.Outcome == NoData || res.Outcome == NXDomain {
		return "none" // from "no such name" to "no such record" is no change
	}
	return res.Outcome.String() + "\n" + strings.Join(keys, "\n")
}

// validFor is how long the answer holds for whoever gave it.
func validFor(res *Result) (time.Duration, bool) {
	if res.Msg == nil || res.Msg.Authoritative {
		return 0, false // who knows first hand may say something new any time
	}
	if len(res.Msg.Answer) == 0 {
		return NegativeTTL(res.Msg)
	}
	ttl := uint32(1 << 30)
	for _, rr := range res.Msg.Answer {
		ttl = min(ttl, rr.Header().Ttl)
	}
	return time.Duration(ttl) * time.Second, true
}

// hasData reports whether one of the records asked for has the given data.
func hasData(res *Result, want string) bool {
	for _, rr := range res.Records() {
		if sameData(Data(rr), want) {
			return true
		}
	}
	return false
}

func sameData(data, want string) bool {
	norm := func(s string) string {
		s = strings.Join(strings.Fields(s), " ")
		if len(s) > 1 && strings.HasPrefix(s, `"`) && strings.HasSuffix(s, `"`) {
			s = s[1 : len(s)-1]
		}
		return strings.ToLower(strings.TrimSuffix(s, "."))
	}
	return norm(data) == norm(want)
}
