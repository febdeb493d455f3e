// Package resolve asks the domain name system: one question or many, of one
// server or several, over every transport that servers speak.
//
// # Asking
//
// A [Resolver] does what a system's stub resolver does and tells all about
// it. Without servers of its own it reads how the system is set up (resolv.conf
// with its options and environment, macOS's and Windows's own means), answers
// from the hosts file, completes short names from the search list, asks the
// servers in turn, and goes to the local link for .local:
//
//	r := &resolve.Resolver{}
//	res := r.Lookup(ctx, "www.example.com", dns.TypeAAAA, dns.ClassINET)
//	switch res.Outcome {
//	case resolve.Found:
//		for _, rr := range res.Records() { … }
//	case resolve.NXDomain: …
//	case resolve.Failed:
//		log.Print(res.Err) // *TimeoutError, *ServerError, *NameError, …
//	}
//
// A [Client] asks one server that an [Upstream] names, over its transport:
// UDP, TCP, TLS (RFC 7858) and HTTPS (RFC 8484) are built in; QUIC (RFC 9250)
// and HTTP/3 are plugged in from the package overquic through
// [Options.Transports]. Connections are verified, kept and shared. Sockets
// come from [Options.Dialer].
//
// [ZoneTransfer] fetches zones (AXFR, IXFR, with TSIG). [Compare] sets answers
// of several servers side by side. [Resolver.Wait] asks until something
// changes. The package cache remembers answers, the package format prints
// them.
//
// # Trust
//
// An answer counts only if it comes from the address asked (the socket is
// connected), has the query's random ID, is a response, and repeats the
// question octet for octet (see [Message.Match]); with cookies (RFC 7873) it
// must carry ours, and with [Options.RandomCase] repeat the case of every
// letter. What fails, or does not parse, is counted in [Strays] and does not
// end the wait: a forger gains nothing from being first. Every query goes out
// from a port of its own. Messages are at most 64 KiB, and no count that a
// server sends makes memory be set aside.
//
// Whatever came from the network must pass through [Escape], [Data] or
// [DisplayName] before it reaches a terminal.
//
// # Silence
//
// Each server is asked several times ([Options.Tries]), but the wait for the
// first query goes on when the next has gone out, so that a slow server is not
// a silent one. [Options.Timeout] limits the whole. A server that answers
// SERVFAIL, REFUSED or NOTIMP, or that cannot be reached, is passed over for
// the next; its answer counts if no better one comes.
package resolve
