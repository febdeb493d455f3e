// Package pairing makes a connection private between two ends that know the same
// short code, over any reliable [net.Conn].
//
// # Codes
//
// A [Code] such as 17-cedar-otter is a number and words. The number is public: it
// names an offer on the local network. The words alone are the secret. Two words
// of [Words] are 22 bits, which is little, and enough: the exchange below lets
// nobody search offline, one run tests one guess, and a [Guard] counts the runs.
//
// # The handshake
//
// The dialer is the TLS client. All that is readable on the wire is TLS 1.3 and
// the protocol's number in its ALPN, "wherry/1".
//
//	dialer                                              listener
//	ClientHello, ALPN wherry/1    ───────────▶
//	                              ◀───────────  ServerHello .. Finished
//	Finished; 'S' pA              ───────────▶  (the guess is charged)
//	                              ◀───────────  'S' pB
//	'C' cA                        ───────────▶  verify cA
//	verify cB                     ◀───────────  'C' cB
//	application data              ◀──────────▶  application data
//
// The certificate is self-signed, made for the listener's lifetime, and holds
// nothing; nobody checks it. What proves the peer is SPAKE2 (RFC 9382, package
// spake2) inside the channel, with these inputs:
//
//   - w: the words, normalised as [ParseCode] says, stretched by Argon2id;
//   - A, the dialer: "wherry/1 dialer sender" or "wherry/1 dialer receiver";
//   - B, the listener: "wherry/1 listener receiver" or "… sender";
//   - AAD: 32 bytes from the TLS exporter (RFC 8446, section 7.5), label
//     "EXPORTER-wherry-pairing", no context.
//
// The exporter's secret covers the TLS handshake with its keys and certificate.
// Somebody who ends TLS towards both ends has two channels with two secrets, so
// that no confirmation passed on fits; the guess is spent.
//
// Messages are TLS application data: a type byte and a body of fixed length.
//
//	'J'  joining, below: the dialer's 16 and 32 bytes, the listener's 32
//	'S'  a share: 65 bytes, an uncompressed SEC 1 point
//	'C'  a confirmation: 32 bytes, HMAC-SHA-256
//	'E'  the listener will not go on: a reason byte (1 wrong code, 2 burnt,
//	     3 busy, 4 wait, 5 same role, 6 not joined) and 2 bytes, big-endian: the
//	     seconds to wait for reason 4, else 0
//
// # Joining
//
// A paired connection vouches for further ones to the same listener ([Conn.Join]).
// Its TLS exporter gives both ends, and nobody else, a ticket of 48 bytes, label
// "EXPORTER-wherry-join", no context: a name of 16 and a key of 32. The further
// connection is a TLS channel with certificates, key shares and an exporter of its
// own (label as above); in the place of the PAKE each end sends an HMAC-SHA-256
// under the ticket's key over "wherry/1 dialer joins" or "wherry/1 listener joins"
// and the 32 bytes of that exporter:
//
//	ClientHello, ALPN wherry/1    ───────────▶
//	                              ◀───────────  ServerHello .. Finished
//	Finished; 'J' name, HMAC      ───────────▶  verify
//	verify                        ◀───────────  'J' HMAC
//
// So a man in the middle fails here as he does there. The listener forgets a ticket
// with its connection. A wrong one is no guess, since it tests no code, and is not
// charged.
//
// # Who proves first
//
// Whoever proves first lets the other test one guess. The dialer does: it was
// started by a person for one attempt, while the listener may be asked by
// anybody at any time. A dialer learns nothing from pB; it learns whether its
// guess was right only by sending cA, which the listener sees. Even so the
// listener charges the guess before it sends pB, and gives it back only for a
// right cA: so leaving early saves no guess, an invalid share (which makes the
// shared point the identity exactly if the guess was right) costs one, and
// parallel runs cannot test more guesses than are left. A false listener gets
// one guess for each attempt of a person to dial it; [Client] therefore returns
// [ErrWrongCode] or [ErrUnconfirmed], after which nobody may dial again unasked.
//
// # Plain peers
//
// The plain protocol begins with the eight bytes "WHERRY/1", TLS with a byte
// between 0x14 and 0x17 and a 0x03, so that an end knows at once whether the
// other is of its kind ([Sniff]). The refusal of either is ten bytes in the plain
// protocol: "WHERRY/1", 'E', and a reason (1: this end expects a code, the other
// is plain; 2: the reverse; 3 and 4: this end was told TCP, or UDP, and the
// connection is over the other, which is answered with 4 and 3). Both ends then
// close.
//
// # Afterwards
//
// A [Conn] carries the application's bytes in TLS records, written in batches of
// 256 KiB. There is no resumption and no early data.
package pairing
