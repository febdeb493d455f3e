// Package iterate resolves names from the root down, and tells how it got
// there.
//
//	r := iterate.New(iterate.Options{})
//	res, err := r.Lookup(ctx, "www.example.com.", dns.TypeA, iterate.LookupOptions{})
//	res.WriteText(os.Stdout)   // a line a hop
//	fmt.Println(res.Verdict)   // the chain of trust in plain words
//
// The engine performs no I/O of its own: it asks through an [Exchanger] and
// reads the time from Options.Now, so that recorded scenarios and hostile
// servers replay in memory. [Network] is the Exchanger on real sockets.
//
// # What a lookup does
//
// It starts at the deepest zone cut that it knows, else at the root hints, and
// asks that zone's servers, the quickest first. A referral leads on, an alias
// starts over with its target, an answer or a denial ends it. Servers whose
// addresses are not in the referral are looked up in between. In detail:
//
//   - Names are minimised (RFC 9156): a server is asked for no more labels than
//     it can answer for. Where that fails the full name is asked for.
//   - Replies are believed only within the zone that was asked (bailiwick), and
//     glue only as addresses of servers, never as an answer (RFC 2181, 5.4.1).
//   - The case of names is mixed (0x20), cookies are sent (RFC 7873), ports and
//     IDs are random; a reply that does not fit is asked for again over TCP.
//   - A server that chokes on EDNS is asked without; a truncated reply is
//     fetched over TCP.
//   - When the parent's idea of the servers fails, the addresses that the zones
//     themselves give are tried, then the zone's own NS set, then glue that
//     contradicts them.
//   - The delegation's lifetime is the parent's: a zone cannot prolong its own
//     delegation.
//   - A secure NXDOMAIN denies everything below it (RFC 8020), and verified NSEC
//     and NSEC3 records deny every name in their spans (RFC 8198).
//   - An answer that does not validate is asked for from other servers before it
//     is called bogus.
//
// # Limits
//
// What one lookup may cost is bounded by [Limits], whatever the zones it meets
// are built to do (NXNSAttack, TsuNAME, deep referral chains); exceeding one is
// a [*LimitError], and a name that needs itself to resolve is a [*LoopError].
//
// # Other views
//
// [Resolver.AllPaths] asks every server on the way the same question;
// [Resolver.Check] compares the authoritative servers of one zone with each
// other and with its parent.
package iterate
