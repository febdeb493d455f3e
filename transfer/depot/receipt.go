package depot

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/chacha20poly1305"
	"lukechampine.com/blake3"

	"github.com/wherry-net/wherry/socket/safetext"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// A Receipt is what a receiver leaves for the sender: these entries are on its disk,
// verified.
type Receipt struct {
	Offer    [16]byte
	Receiver [16]byte // the same each time that it is started
	Label    string   // what it calls itself, safe to print
	First    int      // of the entries that it is for
	Count    int      // how many
	Files    int      // that are there
	Bytes    int64    // in them
	Root     treehash.Digest
}

const (
	receiptLabel = label + " receipt"
	maxLabel     = 64
	receiptSize  = 1 + 16 + 16 + 4 + 4 + 4 + 8 + treehash.Size + 1 + maxLabel // with any label
)

// NewReceiver is the number of a receiver of that name, as its host and directory.
func (k *Key) NewReceiver(name string) [16]byte {
	h := blake3.New(16, k.receipt[:])
	h.Write([]byte(name))
	return [16]byte(h.Sum(nil))
}

// Seal makes the message of a receipt.
func (r *Receipt) Seal(k *Key) []byte {
	b := append(make([]byte, 0, receiptSize), version)
	b = append(append(b, r.Offer[:]...), r.Receiver[:]...)
	for _, n := range []int{r.First, r.Count, r.Files} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.Bytes))
	b = append(b, r.Root[:]...)
	name := r.Label[:min(len(r.Label), maxLabel)]
	b = append(append(b, byte(len(name))), name...)
	return k.sealSmall(b[:receiptSize], receiptLabel)
}

// OpenReceipt reads a receipt. Whoever has the code can have written it.
func OpenReceipt(k *Key, msg []byte) (r Receipt, err error) {
	b, err := k.openSmall(msg, receiptSize, receiptLabel)
	if err != nil {
		return r, err
	}
	if b[0] != version {
		return r, fmt.Errorf("%w: a receipt has version %d", ErrFormat, b[0])
	}
	b = b[1:]
	b = b[copy(r.Offer[:], b):]
	b = b[copy(r.Receiver[:], b):]
	for _, p := range []*int{&r.First, &r.Count, &r.Files} {
		v := binary.BigEndian.Uint32(b)
		if v > maxEntries {
			return r, fmt.Errorf("%w: a receipt tells of %d entries", ErrFormat, v)
		}
		*p, b = int(v), b[4:]
	}
	size := binary.BigEndian.Uint64(b)
	if size > maxContent {
		return r, fmt.Errorf("%w: a receipt tells of %d bytes", ErrFormat, size)
	}
	r.Bytes, b = int64(size), b[8:]
	b = b[copy(r.Root[:], b):]
	if b[0] > maxLabel {
		return r, fmt.Errorf("%w: the label of a receipt is too long", ErrFormat)
	}
	r.Label = safetext.Clean(string(b[1 : 1+b[0]]))
	return r, nil
}

func (k *Key) sealSmall(plain []byte, what string) []byte {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	_, _ = rand.Read(nonce) // it never fails
	return newAEAD(&k.receipt).Seal(nonce, nonce, plain, []byte(what))
}

func (k *Key) openSmall(msg []byte, size int, what string) ([]byte, error) {
	if len(msg) != size+Overhead {
		return nil, errStrange
	}
	plain, err := newAEAD(&k.receipt).Open(nil, msg[:chacha20poly1305.NonceSizeX], msg[chacha20poly1305.NonceSizeX:], []byte(what))
	if err != nil {
		return nil, errStrange
	}
	return plain, nil
}

// A roots is what two ends compare to know that they have the same files: the digests
// of all names and contents, in whichever order they came.
type roots struct{ leaves [][treehash.Size]byte }

func (r *roots) add(path string, d treehash.Digest) {
	b := append(make([]byte, 0, 128), d[:]...)
	r.leaves = append(r.leaves, treehash.Sum(append(b, path...)))
}

func (r *roots) sum() (d treehash.Digest) {
	slices.SortFunc(r.leaves, func(a, b [treehash.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	h := blake3.New(treehash.Size, nil)
	for i := range r.leaves {
		h.Write(r.leaves[i][:])
	}
	h.Sum(d[:0])
	return d
}
