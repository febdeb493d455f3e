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
// the protocol's number in its ALPN, "wherry/2", beside which the dialer offers a
// name that nobody chooses: "wherry-share/" and its share in base64url.
//
//	dialer                                              listener
//	ClientHello, with pA          ───────────▶  (the guess is charged)
//	                              ◀───────────  ServerHello .. Certificate,
//	verify cB                                   with pB and cB .. Finished
//	Finished; 'C' cA; data        ───────────▶  verify cA
//	                              ◀───────────  data
//
// So it takes one round trip, as TLS alone does. The certificate is self-signed,
// with a key that is made for the listener's lifetime, and holds nothing but the
// listener's answer, in an extension (2.25.2003329394) of the type OCTET STRING:
//
//   - pB, 65 bytes, and cB, 32 bytes; or
//   - 'E': the listener will not go on: a reason byte (1 wrong code, 2 burnt,
//     3 busy, 4 wait, 5 not joined) and 2 bytes, big-endian: the seconds to wait for reason 4,
//     else 0.
//
// What proves the peer is SPAKE2 (RFC 9382, package spake2) with these inputs:
//
//   - w: the words, normalised as [ParseCode] says, stretched by Argon2id;
//   - A, the dialer: "wherry/2 dialer sender" or "wherry/2 dialer receiver";
//   - B, the listener: "wherry/2 listener receiver" or "… sender";
//   - AAD for cB: "key " and the SHA-256 of the certificate's public key, as its
//     SubjectPublicKeyInfo has it;
//   - AAD for cA: "channel " and 32 bytes from the TLS exporter (RFC 8446, section
//     7.5), label "EXPORTER-wherry-pairing", no context.
//
// Shares (pA, pB) are uncompressed SEC 1 points, proofs (cA, cB) HMAC-SHA-256. cB
// vouches for the key with which the listener signs the TLS handshake, both key
// shares included; cA is for the channel that this handshake made, and is sent in
// it: the byte 'C' and 32 more. Somebody who ends TLS towards both ends has a key
// that nobody vouches for, and two channels, so that no proof passed on fits; the
// guess is spent.
//
// # Joining
//
// A paired connection vouches for further ones to the same listener ([Conn.Join]).
// Its TLS exporter gives both ends, and nobody else, a ticket of 48 bytes, label
// "EXPORTER-wherry-join", no context: a name of 16 and a key of 32. The further
// connection is a TLS channel with key shares of its own. The dialer offers, in the
// place of its share, the protocol "wherry-join/" and the ticket's name in base64url;
// proofs are HMAC-SHA-256 under the ticket's key over "wherry/2 listener joins" or
// "wherry/2 dialer joins" and what cB and cA are bound to:
//
//	ClientHello, with the name    ───────────▶
//	verify                        ◀───────────  ServerHello .. Certificate, with the
//	                                            listener's proof .. Finished
//	Finished; 'J' proof; data     ───────────▶  verify
//
// So a man in the middle fails here as he does there. The listener forgets a ticket
// with its connection. A ticket is no code: one that is made up tests no guess, and
// is charged as none.
//
// # Who proves first
//
// Whoever proves first lets the other test one guess. It is the listener, which
// saves a round trip and costs nothing, since it charges the guess before it
// answers and gives it back only for a right cA: whether somebody with cB in his
// hands says cA or leaves, guesses wrong or sends an invalid share (which makes the
// shared point the identity exactly if the guess was right), he has tested one
// guess and paid for one, and parallel runs cannot test more than are left. A false
// listener tests one guess as well, by what a dialer does with cB, or by the cA that
// it is sent; of a share alone it learns nothing. So there is one guess for each
// attempt of a person to dial it; [Client] then returns [ErrWrongCode], after which
// nobody may dial again unasked. A dialer sends cA in any case, so that the listener
// can tell a wrong code from a peer of its own role. It sends nothing else before
// cB was right, and the listener nothing before cA was.
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
