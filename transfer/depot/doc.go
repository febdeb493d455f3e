// Package depot leaves files with a carrier that keeps them: the sender goes home, and
// receivers fetch them whenever they like, each at its own pace. The carrier, which may
// be a message broker, is not trusted.
//
//	code, err := depot.NewCode()
//	key, err := depot.NewKey(code)
//	plan, err := depot.NewPlan(ctx, src, depot.PlanOptions{})
//	summary, err := plan.Leave(ctx, &key, log, depot.LeaveOptions{})
//
//	offer, err := depot.Open(ctx, &key, log, addr, depot.ReadOptions{})
//	result, err := offer.Receive(ctx, transfer.ReceiveOptions{Dir: dir})
//
// What a receiver does is package transfer's: where files land, how a transfer that
// broke off is continued, digests, questions and refusals.
//
// # Carriers
//
// A carrier keeps a log: messages in the order in which they were appended
// ([Appender]), read from an offset on ([Cursor]). It may deliver a message twice, and
// others that are not of the offer; both are dropped. [Memory] is one for tests.
//
// # The code
//
// Codes for meeting somebody are short, because each guess takes a run with somebody
// who knows the code. A carrier has what is left, and can try codes by itself for
// years. So a code has 8 words or more: 88 bits when [NewCode] has drawn them. It is
// stretched by Argon2id (19 MiB, 2 passes), which 88 bits do not need, for the sake of
// words that people choose, and HKDF-SHA-256 makes of that the name of the offer at the
// carrier, the key of the content and the key of receipts. Whoever has the code can
// read, and also write: receivers are not protected from each other.
//
// # What the carrier sees
//
// Who connects and when, how much each has fetched, and the length of the whole in
// steps of 4 KiB. All messages but the last are equally long and take no account of
// where files begin and end, so their number, names and lengths are not seen. The carrier can drop,
// delay, repeat and, if the same code is used again, bring back an earlier offer whole;
// it can not change anything, put messages elsewhere, or have an offer pass that ends
// early.
//
// With sharing also how many receivers there are, when they say something to each other,
// and from where each reads, so about which part each takes.
//
// # Retention
//
// How long an offer is given out stands in it. A receiver or a sender who comes later,
// by its own clock, does not read or continue it ([ErrOver]), and removes it at the
// carrier. What is not read by anybody is left to the carrier's own retention.
//
// # The log
//
// It is a sequence of bytes, cut into chunks of 256 KiB. All numbers are big-endian.
//
//	version (1 byte: 1), flags (1 byte; bit 0: shared)
//	number of the offer (16 bytes, random)
//	time of creation, in seconds since 1970 (8 bytes)
//	how long it is given out from then on, in seconds; 0: without end (8 bytes)
//	entries, entries left out, length of the list, length of the content (8 bytes each)
//	BLAKE3 of the list (32 bytes)
//	the list: blocks of length (4 bytes, at most 32 KiB) and entries, as in manifest
//	frames of package transfer
//	of each file, in the order of the list: its bytes, and a trailer
//	zeros, to a multiple of 4 KiB
//
// A trailer is a status (1 byte; 0: good, 1: the sender could not read it, all of its
// bytes may be zeros), the file's BLAKE3 (32 bytes), and of a file of more than one
// group (package treehash) the chaining values (32 bytes each). So both ends know from
// the list alone which message has which group, and a receiver that continues begins
// there. The values are how it finds out which of the groups that it has are not
// those of this offer.
//
// # Messages
//
//	run (16 bytes, random), number (8 bytes), sealed chunk, tag (16 bytes)
//
// XChaCha20-Poly1305 seals; run and number are its nonce. A sender draws its run anew
// each time it is started and seals each number once, so no nonce is used for two
// contents, whatever has become of the files between two starts. (The construction is
// that of STREAM with a key for each run: XChaCha20 makes one of the run's 16 bytes.)
// The label "wherry depot 1", and but for message 0 the number of the offer, are
// authenticated with it. That the log is complete is known by its length, which stands
// in message 0.
//
// Message 2⁶³-1 is a mark and holds nothing. A sender appends one when it begins: what
// is stored before it is what earlier runs have left. If that is the same list, the
// sender goes on behind it; it reads the files from the beginning, since it needs their
// digests, and appends what is missing.
//
// # Sharing
//
// Each file of a shared offer goes to one of its receivers. All of them cut the list
// into the same portions ([Portions]), of whole files, and agree by a second log who
// lands which: what they say there, steps, is read by all in the same order, and so
// comes to the same for all. A step is sealed with the key of receipts, as those are
// (nonce, 24 bytes; sealed; tag, 16 bytes), with the label "wherry depot 1 step":
//
//	version (1 byte: 1), kind (1 byte)
//	number of the offer, of the receiver, of its run (16 bytes each)
//	number of the step within its run, from 1 (8 bytes)
//	number of the portion, from 0 (4 bytes)
//	take: who has held it, as a run (16 bytes; 0: nobody), and its last step (8 bytes)
//	landed: files (4 bytes), bytes (8 bytes), BLAKE3 over their names and digests (32 bytes)
//
// The kinds are 1 "I am alive", said every 3 s; 2 "I take this portion"; 3 "I give it
// back"; 4 "I have landed it, verified". A step that does not count higher than the last
// one of its run is not heard, since carriers may store twice.
//
// A portion that is free belongs to who takes it first. One that somebody holds belongs
// to who takes it naming the holder and its last step: if the holder has said anything
// more before, that does not count. A receiver does so when the holder has been silent
// while it has itself said five times that it is alive, and read that: time in which the
// carrier was away is no silence. So what a dead receiver held is taken some 12 s later,
// and each portion has one holder at any time, however often connections break. A
// receiver that was started again takes what it held itself at once, and goes on with
// the files that are half there. One that was asleep, and finds out that another has
// taken its portion, stops before it makes the next file whole; whatever files of that
// portion it has completed are then at both.
//
// (Not a queue of the broker's with acknowledgements: RabbitMQ gives out again what is
// not acknowledged within half an hour, and all that is not when a connection breaks or
// it is started anew itself, while the receiver is alive and at it; and it would be
// another place that has to agree with the log.)
//
// # What is not done
//
// Sparse files are stored with their zeros. Nothing is compressed. Standard input
// cannot be left. The list is kept in memory by the sender, and the receiver needs
// 16 bytes an entry beside what package transfer does.
package depot
