package transfer

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"

	"github.com/wherry-net/wherry/transfer/treehash"
)

// A journal tells which groups of an unfinished file are on disk. It is a file
// of fixed records behind a header:
//
//	header: "wherry journal 1\n", the file's size as 64 bits
//	record: group (64 bits), chaining value (32 bytes), CRC-32C of both (32 bits)
//
// numbers big-endian. Groups are written to the journal only after the file was
// flushed, so what it claims has survived a power cut; and what it claims is
// read and hashed again before it is believed. It names no path: it is about the
// file beside it and can lead nowhere else.
type journal struct {
	dir  *os.Root
	name string
	file *os.File // the journal
	part *os.File // the file it is about
	sync bool

	mu      sync.Mutex
	pending []journalRecord // written to part, not yet flushed
	busy    bool            // a flush is under way
	kept    int             // records in the journal
	idle    *sync.Cond
}

type journalRecord struct {
	group int64
	cv    treehash.CV
}

const (
	journalMagic  = "wherry journal 1\n"
	journalHeader = len(journalMagic) + 8
	recordSize    = 8 + treehash.Size + 4
	// journalEvery is how many groups may be lost with a sudden end.
	journalEvery = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newJournal(dir *os.Root, name string, file, part *os.File) *journal {
	j := &journal{dir: dir, name: name, file: file, part: part}
	j.idle = sync.NewCond(&j.mu)
	return j
}

func createJournal(dir *os.Root, name string, part *os.File, size int64) (*journal, error) {
	_ = dir.Remove(name)
	f, err := dir.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	h := binary.BigEndian.AppendUint64([]byte(journalMagic), uint64(size))
	if _, err := f.Write(h); err != nil {
		f.Close()
		_ = dir.Remove(name)
		return nil, err
	}
	return newJournal(dir, name, f, part), nil
}

// openJournal reads a journal and returns the groups of a file of size bytes that
// part really has. A journal that is damaged is used as far as it is whole.
func openJournal(ctx context.Context, dir *os.Root, name string, part *os.File, size int64) (*journal, map[int64]treehash.CV) {
	f, err := openRegular(dir, name, os.O_RDWR)
	if err != nil {
		return nil, nil
	}
	have, err := readJournal(ctx, f, part, size)
	if err != nil || len(have) == 0 {
		f.Close()
		return nil, nil
	}
	// The file may be another one now, with another size: write it anew.
	j := newJournal(dir, name, f, part)
	b := binary.BigEndian.AppendUint64([]byte(journalMagic), uint64(size))
	for g, cv := range have {
		b = journalRecord{g, cv}.append(b)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, nil
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		f.Close()
		return nil, nil
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, nil
	}
	j.kept = len(have)
	return j, have
}

// readJournal checks every record against the content that it is about.
func readJournal(ctx context.Context, r io.Reader, part io.ReaderAt, size int64) (map[int64]treehash.CV, error) {
	var h [journalHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, err
	}
	if string(h[:len(journalMagic)]) != journalMagic {
		return nil, errors.New("not a journal")
	}
	then := int64(binary.BigEndian.Uint64(h[len(journalMagic):]))
	have := map[int64]treehash.CV{}
	buf := make([]byte, treehash.GroupSize)
	for n := int64(0); n <= treehash.Groups(size)+int64(journalEvery); n++ {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var raw [recordSize]byte
		if _, err := io.ReadFull(r, raw[:]); err != nil {
			break
		}
		rec, ok := decodeRecord(raw)
		if !ok {
			break
		}
		// The last group of the file as it was may have been shorter than the
		// same group is now, so only whole groups count where the size differs.
		end := (rec.group + 1) * treehash.GroupSize
		length := int64(treehash.GroupSize)
		if rec.group < 0 || rec.group >= treehash.Groups(size) || end > size && then != size {
			continue
		}
		if end > size {
			length = size - rec.group*treehash.GroupSize
		}
		if _, err := part.ReadAt(buf[:length], rec.group*treehash.GroupSize); err != nil {
			continue
		}
		if treehash.Group(buf[:length], rec.group) == rec.cv {
			have[rec.group] = rec.cv
		}
	}
	return have, nil
}

func (r journalRecord) append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(r.group))
	b = append(b, r.cv[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func decodeRecord(raw [recordSize]byte) (r journalRecord, ok bool) {
	n := recordSize - 4
	if crc32.Checksum(raw[:n], castagnoli) != binary.BigEndian.Uint32(raw[n:]) {
		return r, false
	}
	r.group = int64(binary.BigEndian.Uint64(raw[:]))
	copy(r.cv[:], raw[8:])
	return r, true
}

// add notes a group that was written. Every so often the file is flushed and the
// notes are made, beside the writing.
func (j *journal) add(group int64, cv treehash.CV) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, journalRecord{group, cv})
	if len(j.pending) < journalEvery || j.busy {
		return
	}
	batch := j.pending
	j.pending = nil
	j.busy = true
	go j.flush(batch)
}

// flush makes a batch of groups durable and notes them.
func (j *journal) flush(batch []journalRecord) {
	err := error(nil)
	if j.sync {
		err = syncFile(j.part)
	}
	if err == nil {
		var b []byte
		for _, r := range batch {
			b = r.append(b)
		}
		_, err = j.file.Write(b)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		j.kept += len(batch)
	}
	if len(j.pending) >= journalEvery { // they came meanwhile, and perhaps no more will
		batch, j.pending = j.pending, nil
		go j.flush(batch)
		return
	}
	j.busy = false
	j.idle.Broadcast()
}

// keep notes what is pending, closes the journal, and reports whether there is
// anything in it.
func (j *journal) keep() bool {
	j.mu.Lock()
	for j.busy {
		j.idle.Wait()
	}
	batch := j.pending
	j.pending = nil
	j.mu.Unlock()
	if len(batch) > 0 {
		j.flush(batch)
	}
	if j.sync {
		_ = syncFile(j.file)
	}
	j.file.Close()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.kept > 0
}

// close ends the journal of a file that is complete.
func (j *journal) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = nil
	for j.busy {
		j.idle.Wait()
	}
	j.file.Close()
}

func (j *journal) remove() { _ = j.dir.Remove(j.name) }
