package transfer

import "github.com/wherry-net/wherry/socket/safetext"

// What limited a transfer is known in part to either end: the sender's kernel knows
// the network and the receiver's window, the receiver why its window was closed. So
// the sender tells what it saw with its last frame, the receiver makes one sentence
// of both and tells that with its own, and both ends print the same.

// maxLimit bounds the text.
const maxLimit = 64

func limitPayload(both bool, text string) []byte {
	if !both {
		return nil
	}
	return []byte(text[:min(len(text), maxLimit)])
}

// limitAllowed reports whether a last frame may have n bytes of text.
func limitAllowed(both bool, n int) bool { return n == 0 || both && n <= maxLimit }

// limitText is what a peer said, safe to print.
func limitText(p []byte) string { return safetext.Clean(string(p)) }
