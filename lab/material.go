package lab

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// material is the file that is sent over real sockets, and a place for what
// arrives. It is made when it is first needed and used for every run.
type material struct {
	once sync.Once
	dir  string
	err  error
}

// fileName is what the file is called.
const fileName = "file"

// path is the file.
func (m *material) path(p *Plan) (string, error) {
	m.once.Do(func() {
		if m.dir, m.err = os.MkdirTemp("", "wherry-lab-"); m.err == nil {
			m.err = fill(filepath.Join(m.dir, fileName), p)
		}
	})
	if m.err != nil {
		return "", fmt.Errorf("make a file to send: %w", m.err)
	}
	return filepath.Join(m.dir, fileName), nil
}

// inbox is an empty directory, which done removes with all that is in it.
func (m *material) inbox() (dir string, done func(), err error) {
	dir, err = os.MkdirTemp(m.dir, "inbox-")
	if err != nil {
		return "", nil, fmt.Errorf("make a place for what arrives: %w", err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

// Close removes everything.
func (m *material) Close() error {
	if m.dir == "" {
		return nil
	}
	return os.RemoveAll(m.dir)
}

// fill writes the plan's file.
func fill(name string, p *Plan) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	next := func(uint64) uint64 { return 0 } // Zeros
	switch p.File.Pattern {
	case Count:
		next = func(i uint64) uint64 { return i }
	case Random:
		source := rand.NewPCG(p.Seed, 0)
		next = func(uint64) uint64 { return source.Uint64() }
	}
	var word [8]byte
	for left, i := int64(p.File.Size), uint64(0); left > 0; i++ {
		binary.BigEndian.PutUint64(word[:], next(i))
		n := min(left, 8)
		if _, err := w.Write(word[:n]); err != nil {
			return err
		}
		left -= n
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}
