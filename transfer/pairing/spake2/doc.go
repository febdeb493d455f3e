// Package spake2 is SPAKE2 (RFC 9382), the password-authenticated key
// exchange, in the ciphersuite P256-SHA256-HKDF-HMAC.
//
// Two ends that know the same low-entropy password end with the same strong
// key; an attacker who takes part learns from one run whether one guess was
// right, and one who only listens learns nothing that could be searched
// offline. The package does no I/O: it makes and takes the protocol's
// messages, and the caller carries them.
//
//	A                                   B
//	pA = x*G + w*M   ──────────────▶
//	                 ◀──────────────   pB = y*G + w*N
//	K = x*(pB - w*N)                   K = y*(pA - w*M)
//	TT = len(A)‖A‖len(B)‖B‖len(pA)‖pA‖len(pB)‖pB‖len(K)‖K‖len(w)‖w
//	Ke‖Ka = SHA-256(TT);  KcA‖KcB = HKDF(Ka, "ConfirmationKeys"‖AAD)
//	cA = HMAC(KcA, TT) ────────────▶   verify
//	verify           ◀──────────────   cB = HMAC(KcB, TT)
//
// Lengths are 8 bytes little-endian; points are uncompressed SEC 1 (65 bytes);
// w is 32 bytes big-endian. A and B are the parties' identities. AAD is what
// the run is bound to (a TLS exporter, for instance): two ends whose AAD differ
// fail the confirmation.
//
// Operations on secrets take constant time: points by filippo.io/nistec, the
// reduction of the stretched password by filippo.io/bigmod, comparison by
// crypto/subtle.
package spake2
