package cache

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const magic = "wherry-dns-cache 1"

// maxLine bounds a line of a cache file: 64 KiB of message in base64 and the
// rest.
const maxLine = 96 << 10

// ErrFormat means that a file is not a cache file.
var ErrFormat = errors.New("not a wherry cache file")

// record is an [Entry] in a file.
type record struct {
	Name      string    `json:"name"`
	Type      uint16    `json:"type"`
	Class     uint16    `json:"class"`
	Scope     string    `json:"scope,omitempty"`
	Flags     string    `json:"flags,omitempty"`
	Stored    time.Time `json:"stored"`
	TTL       int64     `json:"ttl"`
	Server    string    `json:"server,omitempty"`
	Transport string    `json:"transport,omitempty"`
	Message   []byte    `json:"message"`
}

// ReadFrom adds the entries of a cache file to c; those that c has already
// and that are newer stay. Lines that cannot be understood are skipped. What
// is not a cache file at all gives [ErrFormat].
func (c *Cache) ReadFrom(r io.Reader) (int64, error) {
	n := int64(0)
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), maxLine)
	if !sc.Scan() {
		return 0, sc.Err() // an empty file is an empty cache
	}
	if n = int64(len(sc.Bytes())) + 1; sc.Text() != magic {
		return n, ErrFormat
	}
	for sc.Scan() {
		n += int64(len(sc.Bytes())) + 1
		if e, ok := c.parse(sc.Bytes()); ok {
			c.mu.Lock()
			old := c.entries[e.Key]
			newer := old != nil && old.Value.(*Entry).Stored.After(e.Stored)
			c.mu.Unlock()
			if !newer {
				c.insert(e)
			}
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return n, err
	}
	return n, nil
}

func (c *Cache) parse(line []byte) (*Entry, bool) {
	var r record
	if json.Unmarshal(line, &r) != nil {
		return nil, false
	}
	m := new(dns.Msg)
	if len(r.Scope) > 4096 || len(r.Server) > 1024 || len(r.Transport) > 16 || m.Unpack(r.Message) != nil {
		return nil, false
	}
	if _, ok := dns.IsDomainName(r.Name); !ok || r.Name != dns.CanonicalName(r.Name) {
		return nil, false
	}
	k := Key{Name: r.Name, Type: r.Type, Class: r.Class, Scope: r.Scope,
		DO: strings.Contains(r.Flags, "do"), CD: strings.Contains(r.Flags, "cd")}
	// The file may not make an answer live longer than the answer itself says.
	ttl, ok := c.ttl(k, m)
	if !ok || r.TTL <= 0 || r.Stored.Year() < 2000 || r.Stored.Year() > 9999 {
		return nil, false
	}
	if r.TTL < int64(ttl/time.Second) {
		ttl = time.Duration(r.TTL) * time.Second
	}
	return &Entry{Key: k, Wire: r.Message, Stored: r.Stored, TTL: ttl, Server: r.Server, Transport: r.Transport}, true
}

// WriteTo writes c as a cache file.
func (c *Cache) WriteTo(w io.Writer) (int64, error) {
	bw := bufio.NewWriter(w)
	n, _ := bw.WriteString(magic + "\n")
	total := int64(n)
	c.mu.Lock()
	entries := make([]*Entry, 0, len(c.entries))
	for el := c.lru.Back(); el != nil; el = el.Prev() {
		entries = append(entries, el.Value.(*Entry))
	}
	c.mu.Unlock()
	for _, e := range entries {
		var flags []string
		if e.DO {
			flags = append(flags, "do")
		}
		if e.CD {
			flags = append(flags, "cd")
		}
		b, err := json.Marshal(record{e.Name, e.Type, e.Class, e.Scope, strings.Join(flags, " "), e.Stored.UTC(),
			int64(e.TTL / time.Second), e.Server, e.Transport, e.Wire})
		if err != nil {
			return total, fmt.Errorf("write cache entry %s: %w", e.Name, err)
		}
		n, _ := bw.Write(append(b, '\n'))
		total += int64(n)
	}
	return total, bw.Flush()
}

// Load adds the entries of the file at path to c. A file that does not exist
// is an empty one.
func (c *Cache) Load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := c.ReadFrom(f); err != nil {
		return fmt.Errorf("read cache %s: %w", path, err)
	}
	c.mu.Lock()
	c.dirty = false
	c.mu.Unlock()
	return nil
}

// Save writes c to path if it has changed since it was loaded. What another
// process has written there meanwhile is kept. The file is replaced as a
// whole, so that a reader never sees half of it; only its owner may read it,
// as it tells what was looked up.
func (c *Cache) Save(path string) error {
	c.mu.Lock()
	dirty := c.dirty
	c.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := c.Load(path); err != nil {
		return err // in particular: not ours to overwrite
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write cache: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	if _, err := c.WriteTo(tmp); err != nil {
		tmp.Close()
		return fmt.Errorf("write cache %s: %w", path, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("write cache %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("write cache: %w", err)
	}
	return nil
}

func sortEntries(es []*Entry) {
	keys := make(map[*Entry]string, len(es))
	for _, e := range es {
		keys[e] = reversed(e.Name)
	}
	slices.SortFunc(es, func(a, b *Entry) int {
		return cmp.Or(strings.Compare(keys[a], keys[b]), cmp.Compare(a.Type, b.Type),
			cmp.Compare(a.Class, b.Class), strings.Compare(a.Scope, b.Scope))
	})
}
