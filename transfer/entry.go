package transfer

import (
	"encoding/binary"
	"io/fs"
	"time"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A Kind is what an entry of a manifest is.
type Kind byte

const (
	File    Kind = 1
	Dir     Kind = 2
	Symlink Kind = 3
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "directory"
	case Symlink:
		return "symbolic link"
	}
	return "unknown kind"
}

// UnknownSize is the size of a file that is read from a pipe.
const UnknownSize = -1

// An Entry is one file, directory or symbolic link of a transfer.
type Entry struct {
	Path    string      // slash-separated, relative, in the bytes of the sender's file system
	Kind    Kind        //
	Mode    fs.FileMode // permission bits only: no setuid, setgid, sticky
	Size    int64       // bytes, for files; UnknownSize for a pipe
	Holes   int64       // of them, about how many the sender's disk does not hold: a sparse file
	ModTime time.Time   //
	Target  string      // of a symbolic link: relative, inside the tree
}

// Bounds on what a manifest may hold, checked before memory is taken.
const (
	maxPath      = 4096               // bytes of a path or link target, as PATH_MAX
	maxComponent = 255                // bytes of one name, as NAME_MAX
	maxDepth     = 255                // names in a path
	maxEntries   = 1 << 22            // entries in a transfer
	maxNames     = 1 << 29            // bytes of all its paths and link targets
	maxSize      = 1 << 60            // bytes of a file
	minHoles     = treehash.GroupSize // bytes: with less a file is not worth being called sparse
)

// sparseFile is the kind of a file with holes on the wire; its entry tells of
// them behind the size.
const sparseFile Kind = 4

func (e *Entry) append(b []byte) []byte {
	if e.Holes > 0 {
		b = append(b, byte(sparseFile))
	} else {
		b = append(b, byte(e.Kind))
	}
	b = binary.AppendUvarint(b, uint64(e.Mode&fs.ModePerm))
	b = binary.AppendVarint(b, e.ModTime.Unix())
	b = binary.AppendUvarint(b, uint64(e.ModTime.Nanosecond()))
	b = binary.AppendUvarint(b, uint64(e.Size+1))
	if e.Holes > 0 {
		b = binary.AppendUvarint(b, uint64(e.Holes))
	}
	b = appendBytes(b, []byte(e.Path))
	return appendBytes(b, []byte(e.Target))
}

// decodeManifest calls yield for every entry of a manifest frame. It checks
// what can be checked of an entry alone; manifest.add checks the rest.
func decodeManifest(p []byte, yield func(Entry) error) error {
	d := decoder{b: p}
	text := string(p) // one piece of memory for all the names in it
	cut := func(b []byte) string { return text[len(p)-len(d.b)-len(b) : len(p)-len(d.b)] }
	for len(d.b) > 0 {
		e := Entry{Kind: Kind(d.byte())}
		mode := d.uvarint()
		sec := d.varint()
		nsec := d.count("a modification time's nanoseconds", 999_999_999)
		size := d.uvarint()
		sparse := e.Kind == sparseFile
		if sparse {
			e.Kind, e.Holes = File, int64(d.count("the holes of a file", maxSize))
		}
		e.Path = cut(d.bytes("a path", maxPath))
		e.Target = cut(d.bytes("a link target", maxPath))
		if d.err != nil {
			return d.err
		}
		e.Mode = fs.FileMode(mode & uint64(fs.ModePerm))
		e.ModTime = time.Unix(sec, int64(nsec))
		e.Size = int64(size) - 1
		switch {
		case e.Kind != File && e.Kind != Dir && e.Kind != Symlink:
			return &EntryError{e.Path, "unknown kind of entry"}
		case mode > uint64(fs.ModePerm):
			return &EntryError{e.Path, "its mode has more than permission bits (setuid, setgid or sticky)"}
		case sparse && (e.Holes < minHoles || uint64(e.Holes) >= size):
			return &EntryError{e.Path, "more holes than there is of it, or too little for a sparse file"}
		case size > maxSize+1:
			return &EntryError{e.Path, "its size is not possible"}
		case e.Kind != File && size != 1:
			return &EntryError{e.Path, "a size for something that is not a file"}
		case (e.Kind == Symlink) != (e.Target != ""):
			return &EntryError{e.Path, "a link target where none belongs, or none where one does"}
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return d.done()
}

// manifestEnd closes a manifest: what the sender counted.
type manifestEnd struct {
	Entries uint64
	Bytes   uint64 // of files whose size is known
	Skipped uint64 // devices, sockets, FIFOs, links that leave the tree
}

func (m manifestEnd) encode() []byte {
	b := binary.AppendUvarint(nil, m.Entries)
	b = binary.AppendUvarint(b, m.Bytes)
	return binary.AppendUvarint(b, m.Skipped)
}

func decodeManifestEnd(p []byte) (manifestEnd, error) {
	d := decoder{b: p}
	m := manifestEnd{d.uvarint(), d.uvarint(), d.uvarint()}
	return m, d.done()
}
