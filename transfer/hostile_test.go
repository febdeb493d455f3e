package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/wherry-net/wherry/transfer/internal/preface"
	"github.com/wherry-net/wherry/transfer/treehash"
)

// The attacks in this file have been made on croc, magic-wormhole, scp, rsync and
// LocalSend, or would have worked on an earlier state of this package. Each is a
// peer that writes the wire format by hand.

// A wire is what a hostile sender writes.
type wire struct{ b []byte }

func newWire() *wire {
	h := hello{Min: minVersion, Max: maxVersion, Role: roleSender, Features: featureRanges}
	return &wire{appendFrame([]byte(preface.Magic+string(rune(preface.Hello))), frameHello, h.encode())}
}

func (w *wire) bytes() []byte { return w.b }

func (w *wire) frame(t frameType, p []byte) *wire {
	w.b = appendFrame(w.b, t, p)
	return w
}

// entries is a manifest in as many frames as it needs, without its end.
func (w *wire) entries(entries ...Entry) *wire {
	var p []byte
	for _, e := range entries {
		if e.ModTime.IsZero() {
			e.ModTime = old
		}
		if len(p) > maxControl-2*maxPath {
			w.frame(frameManifest, p)
			p = p[:0]
		}
		p = e.append(p)
	}
	return w.frame(frameManifest, p)
}

func (w *wire) list(entries ...Entry) *wire {
	return w.entries(entries...).frame(frameManifestEnd, manifestEnd{Entries: uint64(len(entries))}.encode())
}

func (w *wire) data(entry int, offset int64, content []byte) *wire {
	b := make([]byte, frameHeader+dataHeader)
	putDataHeader(b, entry, offset, len(content))
	w.b = append(append(w.b, b...), content...)
	return w
}

func (w *wire) end(e fileEnd) *wire {
	w.b = e.append(w.b)
	return w
}

func mustBeSafe(t testing.TB, s string) {
	t.Helper()
	if i := strings.IndexFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control) || r == utf8.RuneError
	}); i >= 0 {
		t.Fatalf("unsafe to print at %d: %q", i, s)
	}
}

// A victim is a directory to receive into, with things around it that must stay
// as they are.
type victim struct {
	outer, dir string
	root       *os.Root
	before     map[string]string
}

func newVictim(t testing.TB) *victim {
	v := &victim{outer: t.TempDir()}
	v.dir = filepath.Join(v.outer, "in")
	write(t, v.outer+"/canary", []byte("as it was"), 0o640, old)
	write(t, v.outer+"/outside/a", []byte("as it was"), 0o640, old)
	write(t, v.outer+"/outside/a"+partSuffix, []byte("as it was"), 0o640, old)
	write(t, v.outer+"/outside/a"+journalSuffix, []byte("as it was"), 0o640, old)
	if err := os.Mkdir(v.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if v.root, err = os.OpenRoot(v.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.root.Close() })
	v.before = v.around(t)
	return v
}

func (v *victim) around(t testing.TB) map[string]string {
	m := describe(t, v.outer+"/outside")
	b, err := os.ReadFile(v.outer + "/canary")
	m["canary"] = fmt.Sprintf("%q %v", b, err)
	beside, err := os.ReadDir(v.outer)
	m["beside"] = fmt.Sprint(beside, err)
	return m
}

// unharmed checks that nothing outside changed, and that no unfinished file is
// left inside.
func (v *victim) unharmed(t testing.TB) {
	t.Helper()
	sameTree(t, v.before, v.around(t))
	for p := range describe(t, v.dir) {
		if strings.HasSuffix(p, partSuffix) || strings.HasSuffix(p, journalSuffix) {
			t.Errorf("%q is left over", p)
		}
	}
}

// maxAlloc is what one attack may make an end allocate in all: the buffers for
// content, and not a multiple of what the peer claims.
const maxAlloc = 64 << 20

// attack lets w's bytes come in at a receiver, and returns what Receive returned
// and what the peer was told.
func (v *victim) attack(t testing.TB, w *wire, o ReceiveOptions) (err, told error) {
	t.Helper()
	o.Dir, o.NoSync, o.Timeout = v.root, true, calmTimeout
	ours, theirs := pair(t)
	heard := make(chan error, 1)
	go func() { _, _ = theirs.Write(w.bytes()) }()
	go func() { heard <- listen(theirs); theirs.Close() }()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	_, err = Receive(ctx, ours, o)
	runtime.ReadMemStats(&after)
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
		t.Errorf("it took %d bytes of memory", n)
	}
	if err != nil {
		mustBeSafe(t, err.Error())
	}
	v.unharmed(t)
	return err, <-heard
}

// listen reads what an end says, and returns its error frame.
func listen(r io.Reader) error {
	if _, err := io.CopyN(io.Discard, r, int64(len(preface.Magic)+1)); err != nil {
		return nil
	}
	for {
		t, n, err := readFrameHeader(r)
		if err != nil {
			return nil
		}
		p := make([]byte, n)
		if _, err := io.ReadFull(r, p); err != nil {
			return nil
		}
		if t == frameError {
			return decodeError(p)
		}
	}
}

func wantError[T error](t testing.TB, err error) {
	t.Helper()
	var want T
	if !errors.As(err, &want) {
		t.Errorf("got %T (%v), want a %T", err, err, want)
	}
}

func TestHostilePathsAnywhereInTheManifest(t *testing.T) {
	const n = 3000
	for _, evil := range []Entry{
		{Path: "../evil", Kind: File}, {Path: "/tmp/evil", Kind: File}, {Path: "d/../../evil", Kind: File}, {Path: "..", Kind: Dir},
		{Path: "", Kind: File}, {Path: ".", Kind: Dir}, {Path: "d/./x", Kind: File}, {Path: "d//x", Kind: File}, {Path: "d/", Kind: Dir},
		{Path: "evil\x00.txt", Kind: File}, {Path: strings.Repeat("x", 256), Kind: File}, {Path: strings.Repeat("x/", 300) + "x", Kind: File},
		{Path: "nowhere/evil", Kind: File}, {Path: "f0/evil", Kind: File}, {Path: "f0", Kind: File}, {Path: "f0", Kind: Dir},
		{Path: "link/evil", Kind: File}, {Path: "d/link/evil", Kind: File},
		{Path: "l", Kind: Symlink, Target: "/etc"}, {Path: "l", Kind: Symlink, Target: "x"}, {Path: "d/l", Kind: Symlink, Target: "../../outside"},
		{Path: "d/l", Kind: Symlink, Target: "link/../../outside"}, {Path: "d/l", Kind: Symlink, Target: "a\x00b"},
		{Path: "a" + partSuffix, Kind: File}, {Path: "a" + journalSuffix, Kind: File}, {Path: "d/a.WHERRY-part", Kind: File},
	} {
		for _, at := range []int{4, n / 2, n} {
			list := []Entry{{Path: "d", Kind: Dir, Mode: 0o755}, {Path: "d/link", Kind: Symlink, Target: "."}, {Path: "f0", Kind: File}, {Path: "link2", Kind: File}}
			for i := len(list); i < n; i++ {
				list = append(list, Entry{Path: fmt.Sprintf("d/f%d", i), Kind: File, Mode: 0o644})
			}
			list = append(list[:at:at], append([]Entry{evil}, list[at:]...)...)
			v := newVictim(t)
			// Everything is asked for before anything is made, as on a terminal.
			err, told := v.attack(t, newWire().list(list...), ReceiveOptions{Accept: func(context.Context, Offer) error {
				t.Errorf("%q was offered to a person", evil.Path)
				return ErrDeclined
			}})
			wantError[*EntryError](t, err)
			wantError[*RefusedError](t, told)
			if made := describe(t, v.dir); len(made) > 0 {
				t.Errorf("%q at %d: something was made: %v", evil.Path, at, made)
			}
			if t.Failed() {
				t.Fatalf("with %q at %d", evil.Path, at)
			}
		}
	}
}

func TestHostileManifests(t *testing.T) {
	raw := func(mode, size uint64, kind Kind, p, target string) []byte {
		b := []byte{byte(kind)}
		b = binary.AppendUvarint(b, mode)
		b = binary.AppendVarint(b, 0)
		b = binary.AppendUvarint(b, 0)
		b = binary.AppendUvarint(b, size)
		return appendBytes(appendBytes(b, []byte(p)), []byte(target))
	}
	for name, c := range map[string]struct {
		frame []byte
		entry bool // refused as an entry, else as a broken protocol
	}{
		"setuid":                   {raw(0o4755, 1, File, "su", ""), true},
		"setgid directory":         {raw(0o2755, 1, Dir, "d", ""), true},
		"sticky":                   {raw(0o1777, 1, Dir, "d", ""), true},
		"type bits of a device":    {raw(0o60644, 1, File, "sda", ""), true},
		"a kind that is not":       {raw(0o644, 1, 9, "x", ""), true},
		"a negative size":          {raw(0o644, 1<<63+1, File, "x", ""), true},
		"an impossible size":       {raw(0o644, maxSize+2, File, "x", ""), true},
		"a directory with a size":  {raw(0o755, 100, Dir, "d", ""), true},
		"a file with a target":     {raw(0o644, 1, File, "x", "y"), true},
		"a link without a target":  {raw(0o777, 1, Symlink, "x", ""), true},
		"a path longer than told":  {raw(0o644, 1, File, "x", "")[:7], false},
		"a path of 2^62 bytes":     {append([]byte{1, 0, 0, 0, 1}, binary.AppendUvarint(nil, 1<<62)...), false},
		"a path of 4097 bytes":     {raw(0o644, 1, File, strings.Repeat("a", 4097), ""), false},
		"a number of eleven bytes": {append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...), false},
		"a number padded":          {[]byte{1, 0x80, 0x00}, false},
		"nanoseconds of a minute":  {append([]byte{1, 0, 0}, binary.AppendUvarint(nil, 60e9)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			err, told := v.attack(t, newWire().frame(frameManifest, c.frame), ReceiveOptions{})
			if c.entry {
				wantError[*EntryError](t, err)
				wantError[*RefusedError](t, told)
			} else {
				wantError[*ProtocolError](t, err)
				wantError[*RemoteError](t, told)
			}
		})
	}
}

func TestHostileSender(t *testing.T) {
	hello5 := []byte("hello")
	a := Entry{Path: "a", Kind: File, Mode: 0o644, Size: 5}
	five := fileEnd{Size: 5, Sent: 5, Digest: treehash.Sum(hello5)}
	group := pattern(treehash.GroupSize)
	protocol, entry, verify := wantError[*ProtocolError], wantError[*EntryError], wantError[*VerifyError]
	for name, c := range map[string]struct {
		w    *wire
		want func(testing.TB, error)
		o    ReceiveOptions
	}{
		"content before any list":              {newWire().data(0, 0, hello5), protocol, ReceiveOptions{}},
		"content of a file that is not listed": {newWire().list(a).data(1, 0, hello5), protocol, ReceiveOptions{}},
		"content of entry 2^32-1":              {newWire().list(a).data(-1, 0, hello5), protocol, ReceiveOptions{}},
		"content of a directory":               {newWire().list(Entry{Path: "d", Kind: Dir}).data(0, 0, hello5), protocol, ReceiveOptions{}},
		"content of a link":                    {newWire().list(Entry{Path: "d", Kind: Dir}, Entry{Path: "d/l", Kind: Symlink, Target: "x"}).data(1, 0, hello5), protocol, ReceiveOptions{}},
		"content before the person says yes": {newWire().list(a).data(0, 0, hello5), protocol, ReceiveOptions{
			Accept: func(ctx context.Context, _ Offer) error { <-ctx.Done(); return context.Cause(ctx) }}},
		"an entry after the list's end":    {newWire().list(a).list(Entry{Path: "b", Kind: File}), protocol, ReceiveOptions{}},
		"a list shorter than its end says": {newWire().entries(a).frame(frameManifestEnd, manifestEnd{Entries: 2}.encode()), protocol, ReceiveOptions{}},
		"a frame for the other end":        {newWire().frame(frameDecisions, nil), protocol, ReceiveOptions{}},
		"a second hello":                   {newWire().frame(frameHello, nil), protocol, ReceiveOptions{}},
		"finish before anything is decided": {newWire().list(Entry{Path: "d", Kind: Dir}, Entry{Path: "d/l", Kind: Symlink, Target: "x"}).frame(frameFinish, nil), protocol, ReceiveOptions{
			Accept: func(ctx context.Context, _ Offer) error { <-ctx.Done(); return context.Cause(ctx) }}},
		"finish with files outstanding": {newWire().list(a).frame(frameFinish, nil), protocol, ReceiveOptions{}},
		"a frame of 4 GiB":              {&wire{append(newWire().b, byte(frameManifest), 0xff, 0xff, 0xff, 0xff)}, protocol, ReceiveOptions{}},
		"a ping with a payload":         {newWire().frame(framePing, hello5), protocol, ReceiveOptions{}},
		"an unknown frame":              {newWire().frame(99, hello5), protocol, ReceiveOptions{}},
		"garbage":                       {&wire{[]byte("GET / HTTP/1.1\r\nHost: \x1b[31m\r\n\r\n")}, protocol, ReceiveOptions{}},
		"an opening without a hello":    {&wire{appendFrame([]byte(preface.Magic+"H"), frameManifest, nil)}, protocol, ReceiveOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			err, _ := newVictim(t).attack(t, c.w, c.o)
			c.want(t, err)
		})
	}
	// These come after the receiver asked for the file, which it does at once.
	for name, c := range map[string]struct {
		e    Entry
		then *wire
		want func(testing.TB, error)
		o    ReceiveOptions
	}{
		"more than announced":             {a, new(wire).data(0, 0, []byte("hello, world")), entry, ReceiveOptions{}},
		"beyond the end":                  {a, new(wire).data(0, 7*treehash.GroupSize, hello5), entry, ReceiveOptions{}},
		"a negative offset":               {a, new(wire).data(0, -1<<63, hello5), protocol, ReceiveOptions{}},
		"an offset of 2^62":               {a, new(wire).data(0, 1<<62, hello5), protocol, ReceiveOptions{}},
		"over a group's border":           {Entry{Path: "a", Kind: File, Size: 1 << 30}, new(wire).data(0, 1, group), protocol, ReceiveOptions{}},
		"not where a group begins":        {Entry{Path: "a", Kind: File, Size: 1 << 30}, new(wire).data(0, 1, hello5), protocol, ReceiveOptions{}},
		"a piece twice":                   {a, new(wire).data(0, 0, hello5).data(0, 0, hello5), protocol, ReceiveOptions{}},
		"a piece after the end":           {Entry{Path: "a", Kind: File, Size: 2 << 20}, new(wire).data(0, 0, hello5).end(five).data(0, treehash.GroupSize, group), protocol, ReceiveOptions{}},
		"tiny pieces":                     {Entry{Path: "a", Kind: File, Size: 3 << 20}, new(wire).data(0, 0, hello5).data(0, treehash.GroupSize, hello5), protocol, ReceiveOptions{}},
		"an end twice":                    {a, new(wire).end(five).end(five), protocol, ReceiveOptions{}},
		"an end longer than announced":    {a, new(wire).end(fileEnd{Size: 1 << 40}), entry, ReceiveOptions{}},
		"an end of 2^60 bytes":            {Entry{Path: "a", Kind: File, Size: UnknownSize}, new(wire).end(fileEnd{Size: maxSize}).frame(frameFinish, nil), verify, ReceiveOptions{}},
		"a stream over --max-size":        {Entry{Path: "a", Kind: File, Size: UnknownSize}, new(wire).data(0, 0, group), wantError[*RefusedError], ReceiveOptions{MaxSize: 100}},
		"an end longer than its content":  {Entry{Path: "a", Kind: File, Size: 10}, new(wire).data(0, 0, hello5).end(fileEnd{Size: 10, Sent: 5, Digest: five.Digest}).frame(frameFinish, nil), verify, ReceiveOptions{}},
		"an end shorter than its content": {a, new(wire).data(0, 0, hello5).end(fileEnd{Size: 3, Sent: 5, Digest: five.Digest}).frame(frameFinish, nil), verify, ReceiveOptions{}},
		"less sent than its end says":     {a, new(wire).data(0, 0, hello5).end(fileEnd{Size: 5, Sent: 4, Digest: five.Digest}), protocol, ReceiveOptions{}},
		"another digest":                  {a, new(wire).data(0, 0, hello5).end(fileEnd{Size: 5, Sent: 5}).frame(frameFinish, nil), verify, ReceiveOptions{}},
		"an empty file that is not":       {a, new(wire).end(fileEnd{Size: 0, Digest: five.Digest}).frame(frameFinish, nil), verify, ReceiveOptions{}},
		"a digest of 31 bytes":            {a, new(wire).frame(frameEnd, append([]byte{0, 0, 5, 5}, make([]byte, 31)...)), protocol, ReceiveOptions{}},
		"a digest that was not asked for": {a, new(wire).end(fileEnd{Status: statusHash, Size: 5, Digest: five.Digest}), protocol, ReceiveOptions{}},
		"a failure that a terminal obeys": {a, new(wire).end(fileEnd{Status: statusFailed, Text: "\x1b]0;owned\a\x9b31m\u202e\n"}).frame(frameFinish, nil), wantError[*IncompleteError], ReceiveOptions{}},
		"an error that a terminal obeys":  {a, new(wire).frame(frameError, append([]byte{wireFailure}, "\x1b]0;owned\a\x9b31m\u202e\n"...)), wantError[*RemoteError], ReceiveOptions{}},
		"a refusal that a terminal obeys": {a, new(wire).frame(frameError, append([]byte{wireRefused}, "\x1b[2J\r\nroot@host# "...)), wantError[*RefusedError], ReceiveOptions{}},
		"an error longer than allowed":    {a, new(wire).frame(frameError, make([]byte, maxErrorText+2)), protocol, ReceiveOptions{}},
		"an error of nothing":             {a, new(wire).frame(frameError, nil), protocol, ReceiveOptions{}},
		"a name that a terminal obeys":    {Entry{Path: "\x1b[2J\u202e\x9b\n", Kind: File, Size: 5}, new(wire).data(0, 0, []byte("hullo")).end(five).frame(frameFinish, nil), verify, ReceiveOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.asked(t, newWire().list(c.e), c.then, c.o, c.want)
			if made := describe(t, v.dir); len(made) > 0 && name != "a piece after the end" { // that file is whole
				t.Errorf("something was made of it: %v", made)
			}
		})
	}
}

// asked plays list, waits until the receiver has decided, and then plays then.
func (v *victim) asked(t testing.TB, list, then *wire, o ReceiveOptions, want func(testing.TB, error)) {
	t.Helper()
	o.Dir, o.NoSync, o.Timeout = v.root, true, calmTimeout
	ours, theirs := pair(t)
	go func() {
		defer theirs.Close()
		_, _ = theirs.Write(list.bytes())
		_, _ = io.CopyN(io.Discard, theirs, int64(len(preface.Magic)+1))
		for {
			typ, n, err := readFrameHeader(theirs)
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, theirs, int64(n))
			if typ == frameDecisionsEnd {
				break
			}
		}
		_, _ = theirs.Write(then.bytes())
		_, _ = io.Copy(io.Discard, theirs)
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	_, err := Receive(ctx, ours, o)
	runtime.ReadMemStats(&after)
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
		t.Errorf("it took %d bytes of memory", n)
	}
	want(t, err)
	if err != nil {
		mustBeSafe(t, err.Error())
	}
	v.unharmed(t)
}

// A link in the target leads out. Nothing goes through it, whatever is listed, and
// what stands beside it is not taken for our own notes.
func TestHostileLinksInTheTarget(t *testing.T) {
	big := Entry{Path: "d/a", Kind: File, Mode: 0o666, Size: 5 * treehash.GroupSize}
	for name, prepare := range map[string]func(dir string) error{
		"directory": func(dir string) error { return os.Symlink("../outside", dir+"/d") },
		"absolute":  func(dir string) error { return os.Symlink(filepath.Dir(dir)+"/outside", dir+"/d") },
		"file": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/d", 0o755), os.Symlink("../../outside/a", dir+"/d/a"))
		},
		"part": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/d", 0o755), os.Symlink("../../outside/a", dir+"/d/a"+partSuffix))
		},
		"journal": func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/d", 0o755), os.Symlink("../../outside/a", dir+"/d/a"+journalSuffix))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Overwrite{OverwriteAsk, OverwriteNever, OverwriteRename, OverwriteAlways} {
				v := newVictim(t)
				if err := prepare(v.dir); err != nil {
					t.Fatal(err)
				}
				src := filepath.Join(t.TempDir(), "d")
				write(t, src+"/a", pattern(int(big.Size)), 0o666, old)
				_ = copyInto(t, v, []string{src}, o)
				sameTree(t, v.before, v.around(t))
			}
		})
	}
}

func copyInto(t testing.TB, v *victim, paths []string, o Overwrite) outcome {
	src, err := NewSource(paths, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	a, b := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	var out outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		out.got, out.getErr = Receive(ctx, b, ReceiveOptions{Dir: v.root, NoSync: true, Overwrite: o, Timeout: calmTimeout})
	}()
	out.sent, out.sendErr = Send(ctx, a, src, SendOptions{Timeout: calmTimeout})
	<-done
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	return out
}

// A journal is only a hint: what it claims is read again, so one that lies, or
// that somebody else wrote, costs nothing but its use.
func TestHostileJournal(t *testing.T) {
	content := pattern(6*treehash.GroupSize + 1000)
	src := filepath.Join(t.TempDir(), "a")
	write(t, src, content, 0o644, old)
	record := func(g int64, b []byte) []byte { return journalRecord{g, treehash.Group(b, g)}.append(nil) }
	first, second := content[:treehash.GroupSize], content[treehash.GroupSize:2*treehash.GroupSize]
	head := binary.BigEndian.AppendUint64([]byte(journalMagic), uint64(len(content)))
	for name, c := range map[string]struct{ part, journal []byte }{
		"claims what is not there":       {make([]byte, len(content)), append(append(head[:len(head):len(head)], record(0, first)...), record(1, second)...)},
		"claims more than there is":      {first, append(append(head[:len(head):len(head)], record(0, first)...), record(5, second)...)},
		"is about good bytes of another": {pattern(2 * treehash.GroupSize), append(head[:len(head):len(head)], record(0, pattern(2 * treehash.GroupSize)[:treehash.GroupSize])...)},
		"names groups that cannot be":    {content, append(append(head[:len(head):len(head)], journalRecord{-1, treehash.CV{}}.append(nil)...), journalRecord{1 << 62, treehash.CV{}}.append(nil)...)},
		"is none":                        {content, []byte("/etc/passwd\n../../outside/a\n")},
		"is empty":                       {content, nil},
		"is about a longer file":         {append(content[:len(content):len(content)], "more"...), append(head[:len(head):len(head)], record(0, first)...)},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			write(t, v.dir+"/a"+partSuffix, c.part, 0o600, old)
			write(t, v.dir+"/a"+journalSuffix, c.journal, 0o600, old)
			copyInto(t, v, []string{src}, OverwriteAsk).mustWork(t)
			v.unharmed(t)
			got, err := os.ReadFile(v.dir + "/a")
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes arrived, and they are others (%v)", len(got), err)
			}
		})
	}
}

// flip keeps exchanging name for a link to outside and back, until stop.
func flip(name, outside string, stop *atomic.Bool) (flips int) {
	for !stop.Load() {
		if os.Rename(name, name+".real") != nil {
			continue // not there yet
		}
		_ = os.Symlink(outside, name)
		runtime.Gosched()
		_ = os.Remove(name)
		_ = os.Rename(name+".real", name)
		flips++
	}
	return flips
}

// Somebody with access to the target turns a directory, or a file, into a link
// that leads out, again and again, while files are created, compared, renamed,
// given modes and times, and cleaned up. Transfers may fail; outside nothing may
// change.
func TestHostileFlips(t *testing.T) {
	tree := func(t *testing.T) string {
		src := filepath.Join(t.TempDir(), "d")
		for i := range 40 {
			write(t, fmt.Sprintf("%s/sub/f%d", src, i), pattern(1000+i), 0o666, old.Add(time.Hour))
		}
		write(t, src+"/sub/a", pattern(4*treehash.GroupSize), 0o666, old.Add(time.Hour))
		return src
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	for _, flipped := range []string{"d", "d/sub", "d/sub/a", "d/sub/f7"} {
		t.Run(strings.ReplaceAll(flipped, "/", "-"), func(t *testing.T) {
			src := tree(t)
			v := newVictim(t)
			// Outside stand files of all the names that could be hit.
			for i := range 40 {
				write(t, fmt.Sprintf("%s/outside/f%d", v.outer, i), []byte("as it was"), 0o640, old)
				write(t, fmt.Sprintf("%s/outside/sub/f%d", v.outer, i), []byte("as it was"), 0o640, old)
			}
			write(t, v.outer+"/outside/sub/a", []byte("as it was"), 0o640, old)
			v.before = v.around(t)
			target := v.outer + "/outside"
			if strings.HasSuffix(flipped, "/a") || strings.HasSuffix(flipped, "7") {
				target += "/a"
			}
			var stop atomic.Bool
			flips := make(chan int, 1)
			go func() { flips <- flip(filepath.Join(v.dir, flipped), target, &stop) }()
			worked := 0
			for i := range rounds {
				// A peer that goes away in the middle makes the receiver clean up.
				if i%3 == 2 {
					v.breakOff(t, src)
				} else if o := copyInto(t, v, []string{src}, OverwriteAlways); o.getErr == nil {
					worked++
				}
				sameTree(t, v.before, v.around(t))
			}
			stop.Store(true)
			t.Logf("%d flips, %d of %d transfers worked", <-flips, worked, rounds)
			sameTree(t, v.before, v.around(t))
		})
	}
}

// breakOff receives src from a sender that is interrupted as soon as content moves.
func (v *victim) breakOff(t testing.TB, paths string) {
	src, err := NewSource([]string{paths}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	a, b := pair(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = Receive(t.Context(), b, ReceiveOptions{Dir: v.root, NoSync: true, Overwrite: OverwriteAlways,
			Trace: &Trace{Moved: func(*Entry, int) { cancel() }}})
	}()
	_, _ = Send(ctx, a, src, SendOptions{})
	<-done
}

// TestHostileReceiver has a peer that asks for what it must not, and lies about
// what it has.
func TestHostileReceiver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	write(t, dir+"/a", []byte("hello"), 0o644, old)
	write(t, dir+"/b", pattern(3*treehash.GroupSize), 0o644, old)
	const d, a, b = 0, 1, 2 // the entries, as they are walked
	secret := filepath.Join(filepath.Dir(dir), "secret")
	write(t, secret, []byte("secret"), 0o600, old)
	decide := func(c decision) []byte { return appendFrame(nil, frameDecisions, c.append(nil)) }
	report := func(r receipt) []byte { return appendFrame(nil, frameReceipts, r.append(nil)) }
	all := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	askA := decide(decision{Verb: verbSend, First: a, Count: 1})
	noMore := appendFrame(nil, frameDecisionsEnd, nil)
	done := appendFrame(nil, frameDone, nil)
	protocol := wantError[*ProtocolError]
	for name, c := range map[string]struct {
		say  []byte
		want func(testing.TB, error)
	}{
		"asks for what was not listed":    {decide(decision{Verb: verbSend, First: 3, Count: 1}), protocol},
		"asks for four million":           {decide(decision{Verb: verbSend, First: 0, Count: maxEntries}), protocol},
		"asks for a directory":            {decide(decision{Verb: verbSend, First: d, Count: 1}), protocol},
		"asks twice":                      {all(askA, askA), protocol},
		"asks after it has decided":       {all(noMore, askA), protocol},
		"has more than there is":          {decide(decision{Verb: verbHave, First: b, Group: 3, CVs: make([]treehash.CV, 1)}), protocol},
		"has a group of a directory":      {decide(decision{Verb: verbHave, First: d, CVs: make([]treehash.CV, 1)}), protocol},
		"compares twice":                  {all(decide(decision{Verb: verbCompare, First: a, Count: 1}), decide(decision{Verb: verbCompare, First: a, Count: 1})), protocol},
		"reports what it did not ask for": {report(receipt{Entry: a, Digest: treehash.Sum([]byte("hello"))}), protocol},
		"reports a directory":             {report(receipt{Entry: d}), protocol},
		"reports what was not listed":     {report(receipt{Entry: maxEntries}), protocol},
		"had what it did not compare":     {report(receipt{Entry: a, Status: statusHad}), protocol},
		"is done before it has all":       {all(askA, noMore, done), protocol},
		"is done before it has decided":   {done, protocol},
		"refuses twice":                   {bytes.Repeat(report(receipt{Entry: a, Status: statusRefused, Text: "no"}), 2), protocol},
		"a digest of 31 bytes":            {appendFrame(nil, frameReceipts, make([]byte, 33)), protocol},
		"a frame for the other end":       {appendFrame(nil, frameManifest, nil), protocol},
		"a frame of 4 GiB":                {[]byte{byte(frameReceipts), 0xff, 0xff, 0xff, 0xff}, protocol},
		"decisions without end":           {bytes.Repeat(all(askA, report(receipt{Entry: a, Status: statusFailed, Text: "no"})), 10000), protocol},
		"an error that a terminal obeys":  {appendFrame(nil, frameError, append([]byte{wireRefused}, "\x1b]0;x\a\u202e\n"...)), wantError[*RefusedError]},
		"a refusal that a terminal obeys": {all(report(receipt{Entry: a, Status: statusRefused, Text: "\x1b[2J\u202e"}), noMore, done), wantError[*RefusedError]},
	} {
		t.Run(name, func(t *testing.T) {
			err := sendTo(t, dir, func(peer net.Conn) { _, _ = peer.Write(c.say) })
			c.want(t, err)
			if err != nil {
				mustBeSafe(t, err.Error())
			}
		})
	}
	t.Run("reports another digest", func(t *testing.T) {
		err := sendTo(t, dir, func(peer net.Conn) {
			_, _ = peer.Write(all(askA, noMore))
			buf := make([]byte, 1)
			for seen := []byte{}; !bytes.Contains(seen, []byte("hello")); seen = append(seen, buf...) {
				if _, err := peer.Read(buf); err != nil {
					return
				}
			}
			// The file's end is: header, entry, status, size, sent, digest.
			_, _ = io.CopyN(io.Discard, peer, frameHeader+4+treehash.Size)
			_, _ = peer.Write(report(receipt{Entry: a, Digest: treehash.Sum([]byte("other"))}))
		})
		wantError[*VerifyError](t, err)
	})
}

// sendTo sends dir to a peer that says hello and then does as it likes, after the
// whole list has come.
func sendTo(t testing.TB, dir string, then func(net.Conn)) error {
	t.Helper()
	src, err := NewSource([]string{dir}, SourceOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	ours, theirs := pair(t)
	go func() {
		defer theirs.Close()
		h := hello{Min: minVersion, Max: maxVersion, Role: roleReceiver, Features: featureRanges}
		_, _ = theirs.Write(appendFrame([]byte(preface.Magic+"H"), frameHello, h.encode()))
		_, _ = io.CopyN(io.Discard, theirs, int64(len(preface.Magic)+1))
		for typ := frameHello; typ != frameManifestEnd; {
			var n int
			var err error
			if typ, n, err = readFrameHeader(theirs); err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, theirs, int64(n))
		}
		then(theirs)
		_, _ = io.Copy(io.Discard, theirs)
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ctx, cancel := context.WithTimeout(t.Context(), 2*calmTimeout)
	defer cancel()
	_, err = Send(ctx, ours, src, SendOptions{Trace: &Trace{}, Timeout: calmTimeout})
	runtime.ReadMemStats(&after)
	if ctx.Err() != nil {
		t.Fatal("it did not end")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
		t.Errorf("it took %d bytes of memory", n)
	}
	return err
}

// Peers that do nothing, or as good as nothing. Time is simulated.
func TestHostileSlowness(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "a")
	write(t, file, pattern(3<<20), 0o644, old)
	open := appendFrame([]byte(preface.Magic+"H"), frameHello, hello{extended: true}.encode())
	answer := appendFrame([]byte(preface.Magic+"H"), frameHello, hello{Min: 1, Max: 1, Role: roleReceiver}.encode())
	ping := appendFrame(nil, framePing, nil)
	ask := appendFrame(appendFrame(nil, frameDecisions, decision{Verb: verbSend, First: 0, Count: 1}.append(nil)), frameDecisionsEnd, nil)
	for name, c := range map[string]struct {
		peer   func(net.Conn)
		within time.Duration
		want   error
	}{
		"says nothing": {func(p net.Conn) { _, _ = io.Copy(io.Discard, p) }, greeting + time.Second, ErrPeerSilent},
		"trickles its hello": {func(p net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, p) }()
			for _, b := range answer {
				if _, err := p.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(4 * time.Second)
			}
		}, greeting + time.Second, ErrPeerSilent},
		"pings instead of its hello": {func(p net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, p) }()
			_, _ = p.Write([]byte(preface.Magic + "H"))
			for {
				if _, err := p.Write(ping); err != nil {
					return
				}
				time.Sleep(belated / 2)
			}
		}, greeting + time.Second, ErrPeerSilent},
		"falls silent after its hello": {func(p net.Conn) {
			go func() { _, _ = io.Copy(io.Discard, p) }()
			_, _ = p.Write(answer)
		}, DefaultTimeout + time.Second, ErrPeerSilent},
		"stops reading": {func(p net.Conn) {
			_, _ = io.CopyN(io.Discard, p, int64(len(open)))
			_, _ = p.Write(answer)
		}, DefaultTimeout + time.Second, ErrPeerSilent},
		"stops reading, and lives on": {func(p net.Conn) {
			go func() { _, _ = p.Write(answer) }()
			_, _ = io.CopyN(io.Discard, p, int64(len(preface.Magic)+1))
			for typ := frameHello; typ != frameManifestEnd; {
				var n int
				typ, n, _ = readFrameHeader(p)
				_, _ = io.CopyN(io.Discard, p, int64(n))
			}
			_, _ = p.Write(ask)
			for {
				if _, err := p.Write(ping); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}, 4*DefaultTimeout + 2*time.Second, ErrPeerSilent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, err := NewSource([]string{file}, SourceOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				ours, theirs := net.Pipe()
				done := make(chan struct{})
				go func() { defer close(done); c.peer(theirs) }()
				start := time.Now()
				_, err = Send(t.Context(), ours, src, SendOptions{})
				if !errors.Is(err, c.want) {
					t.Errorf("send: %v, want %v", err, c.want)
				}
				if d := time.Since(start); d > c.within {
					t.Errorf("it took %v", d)
				}
				theirs.Close()
				<-done
				synctest.Wait()
			})
		})
	}
	t.Run("a sender trickles its hello", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			done := make(chan struct{})
			go func() {
				defer close(done)
				for _, b := range open {
					if _, err := theirs.Write([]byte{b}); err != nil {
						return
					}
					time.Sleep(4 * time.Second)
				}
			}()
			start := time.Now()
			_, err = Receive(t.Context(), ours, ReceiveOptions{Dir: root})
			if d := time.Since(start); !errors.Is(err, ErrPeerSilent) || d > greeting+time.Second {
				t.Errorf("receive: %v after %v", err, d)
			}
			theirs.Close()
			<-done
			synctest.Wait()
		})
	})
}

// A sender that lives and does nothing gives its place back. Time is simulated.
func TestHostileIdler(t *testing.T) {
	const idle = time.Minute
	a := Entry{Path: "a", Kind: File, Mode: 0o644, Size: 5}
	for name, c := range map[string]struct {
		say    []byte
		within time.Duration
	}{
		"after its hello":             {newWire().bytes(), idle},
		"in the midst of its list":    {newWire().entries(a).bytes(), idlePatience * idle},
		"after the list of nothing":   {newWire().list().bytes(), idle},
		"when it is asked for a file": {newWire().list(a).bytes(), idlePatience * idle},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				root, err := os.OpenRoot(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer root.Close()
				ours, theirs := net.Pipe()
				go func() { _, _ = io.Copy(io.Discard, theirs) }()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for p := c.say; ; p = appendFrame(nil, framePing, nil) {
						if _, err := theirs.Write(p); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				start := time.Now()
				_, err = Receive(t.Context(), ours, ReceiveOptions{Dir: root, Idle: idle})
				if d := time.Since(start); !errors.Is(err, ErrIdle) || d < c.within || d > c.within+idle {
					t.Errorf("%v after %v", err, d)
				}
				theirs.Close()
				<-done
				synctest.Wait()
			})
		})
	}
}

// What a hostile run left in the target is not read as instructions by the next:
// a file may be called anything but what we call our own.
func TestHostileNamesAreNotOurs(t *testing.T) {
	v := newVictim(t)
	for _, name := range []string{partSuffix, "a" + partSuffix, journalSuffix, ".x" + journalSuffix, "A.Wherry-Journal"} {
		err, told := v.attack(t, newWire().list(Entry{Path: name, Kind: File}), ReceiveOptions{})
		wantError[*EntryError](t, err)
		wantError[*RefusedError](t, told)
	}
	if made := describe(t, v.dir); !reflect.DeepEqual(made, map[string]string{}) {
		t.Error(made)
	}
}
