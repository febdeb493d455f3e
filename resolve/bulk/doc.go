// Package bulk asks for names by the million.
//
// [Run] reads a list, asks one or more servers for each name on it, and writes
// one result for each: an answer, a response code, or what went wrong.
//
// # The list
//
// A line is NAME or NAME TYPE, with space or tab between. International names
// are converted (IDNA 2008 with the mapping of UTS #46), escapes are those of
// zone files (\. and \032), a final dot changes nothing, and no search list
// applies. An IP address stands for its reverse name and type PTR. Blank lines
// and lines that begin with # or ; are comments: they have no result and are
// counted in [Stats].Skipped. A line that is no name has the result MALFORMED.
// A name that is there twice is asked for twice and has two results.
//
// # The results
//
// The status of a result is the response code (NOERROR, NXDOMAIN, SERVFAIL,
// REFUSED and so on) or one of
//
//	NODATA     the name exists, but has no record of the type
//	TIMEOUT    no attempt was answered
//	NETWORK    the server could not be reached (not over UDP)
//	TRUNCATED  the answer did not fit in UDP, and TCP failed
//	MALFORMED  the line is no name
//	NOTASKED   all servers had gone silent before it was asked
//
// CSV (RFC 4180, but with lines that end in LF) has a header, a row for each
// record of the answer section, and one row for a result without records:
//
//	line,query,qtype,status,name,ttl,class,type,data,server,ms
//	1,www.example.com,A,NOERROR,www.example.com.,300,IN,A,192.0.2.1,192.0.2.53:53,1.204
//	2,no.example.com,A,NXDOMAIN,no.example.com.,,,,,192.0.2.53:53,0.911
//	3,a..b,A,MALFORMED,,,,,empty label,,
//
// JSON Lines has an object for each result, with the members of RFC 8427
// (QNAME, QTYPE, RCODE, answerRRs with NAME, TYPEname, TTL, rdataA, RDATAHEX
// and so on; names in RDATAHEX are not compressed) and these of its own: line,
// query, status, server, attempts, ms (the round-trip time of the attempt that
// was answered) and error.
//
// Text has a line for each result, whose fields are separated by tabs: the
// query, the type, the status, and the data of the records of that type.
//
// All three are printable ASCII whatever the servers and the list say. Other
// octets are written as \DDD.
//
// # How it asks
//
// There are a few UDP sockets on random ports with many queries in flight on
// each. An answer is matched by the server's address, the port it came to, its
// ID, and the question, octet by octet. What does not match is counted and
// changes nothing. A query without answer is sent again from another port and,
// where there are several, to another server; what is answered by SERVFAIL,
// REFUSED and the like is asked of each of the others. What UDP has too little
// room for is asked again over TCP, with many queries on few connections.
//
// How many queries are in flight to a server is found by additive increase and
// multiplicative decrease, in such a way that loss that does not depend on us
// costs no speed; see control.go. Options.QPS limits the rate besides.
//
// Memory does not grow with the list: names in flight, results that wait for
// their turn, and results that wait to be written are all bounded, and while
// one of them is at its bound no name is started.
//
// # Stopping and going on
//
// Ending the context leaves whole results in the output. [Resume] reads such
// an output, drops what a crash may have left half written at its end, and
// makes the next run leave out what is there.
package bulk
