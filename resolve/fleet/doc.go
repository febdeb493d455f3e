// Package fleet has one list of names asked for by many machines.
//
// A coordinator ([Coordinate]) cuts the list into batches and gives them to a
// [Carrier]; each worker ([Work]) takes batches from its own carrier, asks for the
// names at its own pace with package bulk, and gives a result for each batch.
// Between them stands whatever carries messages at least once: RabbitMQ
// ([DialRabbit]), ZeroMQ without a broker ([ListenZeroMQ], [DialZeroMQ]), or memory in
// tests.
//
// # What holds
//
// Every name has exactly one result in the output, whatever worker dies or
// connection breaks. A batch is acknowledged to the carrier only when its result is
// stored there, and a result only when it is written to the output, or with
// [Options.Ordered] waits in memory for those before it; until then the carrier
// delivers it again. What is therefore done twice is known by its
// number and dropped. The coordinator keeps the batches that are out, at most
// [Options.Outstanding] of them, so that memory does not grow with the list, and
// whoever brings a result that is not of such a batch, or not for just its names,
// is not believed.
//
// A worker has only as many batches as it has asked the carrier for, and gets the
// next when it has answered one: a slow worker gets less.
//
// # Messages
//
// A batch is text: a line of JSON, then a line for each name with its number in
// the list.
//
//	{"wherry":"names","v":1,"job":"6E5G…","batch":7,"type":"A","format":"csv","lines":2}
//	12001 www.example.com
//	12002 example.org MX
//
// A result has for each name a line with its number and the length in bytes of
// what follows, which is what package bulk prints for it.
//
//	{"wherry":"results","v":1,"job":"6E5G…","batch":7,"worker":"one-4711","lines":2,"seconds":0.2}
//	12001 57
//	12001,www.example.com,A,NOERROR,www.example.com.,300,IN,A,…
//	12002 0
//
// Neither is longer than [MaxMessage]. A worker trusts nobody beyond that: a batch
// that is malformed is dropped and counted.
//
// # Without a broker
//
// The coordinator binds a ROUTER of ZeroMQ, and each worker connects a DEALER: the
// load-balancing pattern of ZeroMQ's guide with credit-based flow control. PUSH and
// PULL would not do: PUSH deals out in turn until its queues are full, to the slow as to
// the fast, and cannot take back what it has queued for a worker that dies.
//
// A worker says hello as package psk has it (words: the code's, joined by dashes;
// purpose: "lookup fleet"), since the broker who would ask for a password is missing:
// strangers get no names, and their results are not believed. All else is sealed by
// that session, one frame a message, numbers big-endian:
//
//	worker       'C', n (4 bytes)              n batches more may be given
//	coordinator  'N', id (8 bytes), batch      a batch, which takes one of them
//	worker       'R', result                   a result
//	worker       'D', id                       that batch is answered
//	worker       'B', id                       that batch is not going to be
//	coordinator  'E'                           the list is done
//
// What a worker holds when its connection breaks, or when it has been silent for 20 s,
// goes to others. A worker keeps its batches when the coordinator is away and
// connects again; a coordinator that was started again knows nothing of them.
package fleet
