// Package zeromq carries what package depot seals straight from a sender to its
// receivers, over ZeroMQ and without a broker: the sender stays, and keeps the log in a
// file of its own until everybody has it.
//
//	s, err := zeromq.Listen(ctx, addr, key, spool, zeromq.SenderOptions{})
//	summary, err := plan.Leave(ctx, &depotKey, s, depot.LeaveOptions{})
//
//	r, err := zeromq.Dial(ctx, addr, key, zeromq.ReceiverOptions{})
//	offer, err := depot.Open(ctx, &depotKey, r, r.Addr(), depot.ReadOptions{})
//	result, err := offer.Receive(ctx, o)
//	err = r.Done(ctx, receipt)
//
// # Patterns
//
// [PubSub]: the messages of the log go to all receivers by a PUB. What a PUB does not
// do, a ROUTER on the same port does, to which each receiver has a DEALER: it tells how
// far the PUB is; receivers tell it how far they are, ask for what they missed, because
// they came late, were away or too slow, and say when they have it all. The PUB goes at
// the pace of the slowest receiver, unless that makes no progress for
// [SenderOptions.Patience]: then it is left behind, and asks for what it missed when it
// can. So each receiver has at most a window of messages in memory, and what the PUB
// drops costs one request.
//
// [Pair]: the same with one receiver at a time, by a PAIR on each side and no PUB.
//
// [Share]: each file goes to one of the receivers: what PUSH and PULL are for, but that
// a receiver takes the next portion of the files when it has landed the last, so that
// the fast take more, and that a portion whose receiver dies goes to another. PUSH would
// fill queues in turn, and could not take back. So there is the ROUTER alone, which is
// asked for all messages. A portion whose receiver dies after it has landed it and before
// it has said so is landed twice.
//
// # Messages
//
// The messages of the log are authenticated and encrypted by package depot. All others
// are sealed by a session of package psk (words: the code's, joined by dashes; purpose:
// "files"), which a receiver begins: who does not know the code gets nothing. Numbers are big-endian.
//
//	PUB   topic (8 bytes) and number (8), as one frame; the message
//
//	the rest, in the first frame and sealed:
//	sender    'I', version (1 byte: 1), pattern (1 byte: 0 PUB and SUB, 1 PAIR, 2 share),
//	          topic, P                        once, first: the PUB has come to message P
//	sender    'P', P                          it has come to P; without a PUB: so many are there
//	sender    'M', number                     the second frame, not sealed, is that message
//	sender    'K'                             the receipt has come
//	sender    'E'                             the sender ends
//	receiver  'S'                             it has subscribed
//	receiver  'A', number                     it needs no message before that
//	receiver  'G', number, count (4)          it wants these, which are before P
//	receiver  'R', receipt                    it is done; JSON, see [Receipt]
//
//	and to share, portions being numbered from 0 as [depot.Portions] makes them:
//	receiver  'N', count (4)                  it wants one of so many portions
//	sender    'T', portion (4)                it is given this one
//	sender    'Z'                             all are landed
//	receiver  'F', portion                    it has landed that one
//	receiver  'H', portion                    it is at that one, and was away
package zeromq
