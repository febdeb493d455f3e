// Package dnssec validates DNS answers (RFC 4033, 4034, 4035, 5155, 6840) and
// says in plain words what it found.
//
// The package performs no I/O and reads no clock. A [Validator] is given the
// time and a [Fetcher], through which it asks for the DS and DNSKEY sets that a
// chain of trust needs, and it judges one [Response] at a time:
//
//	v := dnssec.NewValidator(fetch, dnssec.Options{Anchors: dnssec.RootAnchors()})
//	verdict := v.Validate(ctx, now, response)
//
// # States
//
// A [Verdict] carries one of the four states of RFC 4035, section 4.3:
//
//   - [Secure]: an unbroken chain of signatures leads from a trust anchor.
//   - [Insecure]: a signed proof says that there is no chain below some point:
//     an unsigned delegation, an opt-out span, algorithms we do not implement,
//     or NSEC3 parameters too expensive to follow (RFC 9276).
//   - [Bogus]: there should be a chain and there is not.
//   - [Indeterminate]: no trust anchor covers the name.
//
// With it come an Extended DNS Error code (RFC 8914), the zone where the chain
// broke, and a sentence for people.
//
// # Algorithms
//
// Signatures: RSA/SHA-1 (5, 7), RSA/SHA-256 (8), RSA/SHA-512 (10), ECDSA P-256
// and P-384 (13, 14), Ed25519 (15). DS digests: SHA-1, SHA-256, SHA-384; SHA-1
// counts only where no stronger digest stands beside it (RFC 4509, section 3).
// Anything else is treated as unsigned, as RFC 4035, section 5.2 demands.
//
// # Limits
//
// A malicious zone may choose what we compute. For one RRset at most
// [MaxSignatures] signatures are looked at and at most [MaxKeys] public-key
// operations are spent (KeyTrap, CVE-2023-50387); NSEC3 with more than
// [MaxIterations] extra iterations makes the answer insecure, and one response
// may cost at most [MaxHashes] hashes (CVE-2023-50868).
package dnssec
